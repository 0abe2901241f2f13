"""Sparse convolution by masking: a convolutional backbone that sees only some cells of its images.

Hidden cells are 0 wherever a convolution, a pool or a norm could read them. The result is that of a sparse
convolution (SparK, Tian et al., ICLR 2023), with the layers and weights of the plain network.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.modules.batchnorm import _BatchNorm

from densecl.models.active import active_like, only_active

from .recompute import Recomputed

_MASKED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.LayerNorm, nn.Linear)
#: Class names of layers that need no mask. They treat each position by itself, or only sum over positions,
#: and turn 0 into 0 or into a constant that the next masked layer removes.
_KEPT = {
    'CELU', 'DropBlock2d', 'DropPath', 'Dropout', 'Dropout2d', 'ELU', 'GELU', 'GELUTanh',
    'GlobalResponseNorm', 'HardSwish', 'Hardswish', 'Identity', 'LayerScale2d', 'LeakyReLU', 'Mish', 'PReLU',
    'Permute', 'QuickGELU', 'ReLU', 'ReLU6', 'SELU', 'SiLU', 'StochasticDepth', 'Swish', 'Tanh',
}  # fmt: skip


@contextmanager
def sparse(module: nn.Module, active: Tensor) -> Iterator[None]:
    """Inside this context, convolutions, pools, linear layers and norms of ``module`` give 0 in hidden cells.

    Batch norm counts only active positions, see :func:`~densecl.models.active.only_active`; LayerNorm
    normalises each position by itself; GlobalResponseNorm sums over the active positions of an image.
    Names in the state dict do not change, and outside the context ``module`` is as before. Blocks that are
    recomputed in the backward pass (``checkpoint_activations``) then use the same mask.

    Args:
        module: a module of convolutions, max and average pools, linear layers on (B, H, W, C) maps, batch
            and layer norms, GlobalResponseNorm, and activations with f(0) = 0.
        active: (B, h, w) bool, the visible cells. H and W of every map must be multiples of h and w.

    Raises:
        ValueError: a layer may mix hidden cells with others, or its map is no multiple of the mask (the error
            names the layer); or the module is compiled.
    """
    if module._compiled_call_impl is not None:
        raise ValueError('sparse: a compiled backbone cannot be masked; leave out model.compile_backbone')
    layers = _masked_layers(module)
    blocks = [block for block in module.modules() if isinstance(block, Recomputed)]
    with ExitStack() as stack:
        stack.enter_context(only_active(module, active))
        for name, layer in layers.items():
            hook = layer.register_forward_hook(partial(_mask_output, name, active))
            stack.callback(hook.remove)
        for block in blocks:
            block.around_second_pass = partial(sparse, block, active)
            stack.callback(vars(block).pop, 'around_second_pass')
        yield


def encode_sparse(backbone: nn.Module, images: Tensor, hidden: Tensor):
    """The output of ``backbone`` for images (B, C, H, W) without the cells ``hidden``, (B, h, w) bool.

    Raises:
        ValueError: see :func:`sparse`; or H and W are no multiples of h and w.
    """
    active = ~hidden
    images = torch.where(_fitting('the backbone', active, images), images, 0.0)
    with sparse(backbone, active):
        return backbone(images)


def _masked_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Name -> layer whose output is masked. Raises ValueError for a layer that may mix cells."""
    found = {}
    for name, layer in module.named_modules():
        kind = type(layer).__name__
        if isinstance(layer, _MASKED):
            found[name] = layer
        single = not list(layer.children()) and not isinstance(layer, (*_MASKED, _BatchNorm))
        if single and kind not in _KEPT or 'Attention' in kind or isinstance(layer, GraphModule):
            raise ValueError(
                f'sparse: {name or "the backbone"} ({kind}) of {type(module).__name__} may mix hidden cells '
                'with others, as attention, squeeze-excitation and global pooling do; take a ResNet '
                '(mmdet.ResNet, TorchvisionResNet) or a ConvNeXt (TimmBackbone), or views without a mask'
            )
    return found


def _mask_output(
    name: str, active: Tensor, layer: nn.Module, inputs: tuple[Tensor], output: Tensor
) -> Tensor:
    """A forward hook: sets the output to 0 outside the active cells."""
    last = isinstance(layer, nn.Linear | nn.LayerNorm) and '2d' not in type(layer).__name__
    if not last or output.ndim != 4:  # not (B, H, W, C)
        return torch.where(_fitting(name, active, output), output, 0.0)
    fitting = _fitting(name, active, output.permute(0, 3, 1, 2))
    return torch.where(fitting.permute(0, 2, 3, 1), output, 0.0)


def _fitting(name: str, active: Tensor, x: Tensor) -> Tensor:
    """The mask of active positions of a map, (B, 1, H, W)."""
    try:
        return active_like(active, x)
    except ValueError as error:
        cells = ' x '.join(map(str, active.shape[1:]))
        raise ValueError(
            f'sparse: {name} has values of shape {tuple(x.shape)}, which a mask of {cells} cells does not '
            "divide; set the mask's patch to the total stride of the backbone (32 of a ResNet) or a multiple "
            'of it, and the size of the view to a multiple of the patch'
        ) from error
