"""Sparse convolution by masking: a convolutional backbone that sees some cells of its images only.

What is hidden is 0 wherever a convolution, a pool or a norm could read it. That is what a sparse convolution
computes (SparK, Tian et al., ICLR 2023), with the layers and the weights of the plain network.
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
#: Layers, by the names of their classes, that take each position by itself, or sum over positions, and make
#: 0 of 0, or a constant that a masked layer behind them takes away.
_KEPT = {
    'CELU', 'DropBlock2d', 'DropPath', 'Dropout', 'Dropout2d', 'ELU', 'GELU', 'GELUTanh',
    'GlobalResponseNorm', 'HardSwish', 'Hardswish', 'Identity', 'LayerScale2d', 'LeakyReLU', 'Mish', 'PReLU',
    'Permute', 'QuickGELU', 'ReLU', 'ReLU6', 'SELU', 'SiLU', 'StochasticDepth', 'Swish', 'Tanh',
}  # fmt: skip


@contextmanager
def sparse(module: nn.Module, active: Tensor) -> Iterator[None]:
    """While it is entered, every layer of ``module`` gives 0 outside the active cells.

    Batch norm counts active positions only, see :func:`~densecl.models.active.only_active`; LayerNorm
    normalises each position by itself; GlobalResponseNorm sums over the active positions of an image.
    Names in the state dict stay, and outside the context it is the plain module. Blocks that compute again
    in the backward pass (``checkpoint_activations``) do so with the same mask.

    Args:
        module: what consists of convolutions, max and average pools, linear layers on (B, H, W, C) maps,
            norms and activations with f(0) = 0.
        active: (B, h, w) bool, the cells that are seen; they divide the maps of all layers.

    Raises:
        ValueError: a layer, which is named, would mix hidden cells in, or has a map that cells do not divide.
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
    """What ``backbone`` makes of (B, C, H, W) images without the cells ``hidden``, (B, h, w) bool.

    Raises:
        ValueError: see :func:`sparse`; or cells do not divide the images.
    """
    active = ~hidden
    images = torch.where(_fitting('the backbone', active, images), images, 0.0)
    with sparse(backbone, active):
        return backbone(images)


def _masked_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Name -> layer whose output is to be masked; refuses what is not known to keep cells apart."""
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
    """A forward hook."""
    last = isinstance(layer, nn.Linear | nn.LayerNorm) and '2d' not in type(layer).__name__
    if not last or output.ndim != 4:  # not (B, H, W, C)
        return torch.where(_fitting(name, active, output), output, 0.0)
    fitting = _fitting(name, active, output.permute(0, 3, 1, 2))
    return torch.where(fitting.permute(0, 2, 3, 1), output, 0.0)


def _fitting(name: str, active: Tensor, x: Tensor) -> Tensor:
    """(B, 1, H, W), active positions of a map."""
    try:
        return active_like(active, x)
    except ValueError as error:
        cells = ' x '.join(map(str, active.shape[1:]))
        raise ValueError(
            f'sparse: {name} has values of shape {tuple(x.shape)}, which a mask of {cells} cells does not '
            "divide; set the mask's patch to the total stride of the backbone (32 of a ResNet) or a multiple "
            'of it, and the size of the view to a multiple of the patch'
        ) from error
