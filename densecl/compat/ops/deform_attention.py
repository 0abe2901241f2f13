"""Multi-scale deformable attention (Zhu et al., "Deformable DETR", ICLR 2021, section 4.1)."""

from torch import Tensor

from ._precision import fill_gradients, widen


def ms_deform_attn_forward(
    value: Tensor, spatial_shapes: Tensor, level_start_index: Tensor, sampling_locations: Tensor,
    attention_weights: Tensor, im2col_step: int,
) -> Tensor:  # fmt: skip
    """Return the attended values.

    Args:
        value: (B, sum of H * W over levels, heads, channels).
        spatial_shapes: (levels, 2) height and width of each level.
        level_start_index: Unused; it follows from ``spatial_shapes``.
        sampling_locations: (B, queries, heads, levels, points, 2) x, y in 0..1.
        attention_weights: (B, queries, heads, levels, points).
        im2col_step: Unused chunk size.

    Returns:
        (B, queries, heads * channels) in the type of ``value``.
    """
    inputs = (value, sampling_locations, attention_weights)
    return _attend(spatial_shapes)(*map(widen, inputs)).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor, spatial_shapes: Tensor, level_start_index: Tensor, sampling_locations: Tensor,
    attention_weights: Tensor, grad_output: Tensor, grad_value: Tensor, grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor, im2col_step: int,
) -> None:  # fmt: skip
    """Fill the three gradients; arguments as in `ms_deform_attn_forward`."""
    inputs = (value, sampling_locations, attention_weights)
    outputs = (grad_value, grad_sampling_loc, grad_attn_weight)
    fill_gradients(outputs, _attend(spatial_shapes), inputs, grad_output)


def _attend(spatial_shapes: Tensor):
    """Return mmcv's PyTorch form as a function of values, locations and weights."""
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    # Whole numbers once: the form reads them level by level, a device read each.
    shapes = spatial_shapes.tolist()
    return lambda value, locations, weights: multi_scale_deformable_attn_pytorch(
        value, shapes, locations, weights
    )
