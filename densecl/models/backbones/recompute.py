"""Backbones that recompute their blocks in the backward pass instead of storing activations inside them."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import nn
from torch.fx import GraphModule
from torch.utils.checkpoint import checkpoint

_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def blocks_of(backbone: nn.Module) -> dict[str, nn.Module]:
    """Name -> block of any backbone: bottlenecks, inverted residuals, layers of a transformer.

    A list here is a ``Sequential``, ``ModuleList`` or ``ModuleDict`` in which no entry is a single layer or
    such a container. A block is an entry of a list, and has no list inside. Modules inside a traced graph
    are never called, so none of them is a block.
    """
    modules = dict(backbone.named_modules())
    lists = {name for name, module in modules.items() if _is_list_of_blocks(module)}
    traced = tuple(f'{name}.' if name else '' for name, m in modules.items() if isinstance(m, GraphModule))
    return {
        name: module
        for name, module in modules.items()
        if name and name.rpartition('.')[0] in lists and not name.startswith(traced)
        if not any(other.startswith(f'{name}.') for other in lists)
    }


def _is_list_of_blocks(module: nn.Module) -> bool:
    entries = list(module.children()) if isinstance(module, _LISTS) else []
    single = (not list(entry.children()) or isinstance(entry, _LISTS) for entry in entries)
    return bool(entries) and not any(single)


def recompute_blocks(backbone: nn.Module) -> None:
    """Let every block be recomputed in the backward pass (Chen et al., 2016, arXiv:1604.06174), in place.

    Values and gradients are the same to the last bit: dropout draws the same numbers, and only the first
    pass updates batch statistics. Names in the state dict do not change, nor do passes without gradient.

    Raises:
        ValueError: the backbone has no blocks.
    """
    blocks = blocks_of(backbone)
    if not blocks:
        raise ValueError(
            f'model.checkpoint_activations: {type(backbone).__name__} has no list of blocks to compute '
            'again; take a ResNet, a transformer or a TimmBackbone, or leave it out'
        )
    for block in blocks.values():
        if not isinstance(block, Recomputed):
            block.__class__ = _recomputed(type(block))


class Recomputed:
    """Mixin, put before a block's own class, that recomputes the block in the backward pass.

    Attributes:
        around_second_pass: makes a context for the second pass. Each forward pass keeps the value of its
            time; :func:`~densecl.models.backbones.sparse.sparse` sets it.
    """

    around_second_pass: Callable[[], AbstractContextManager] = contextlib.nullcontext

    def forward(self, *args, **kwargs):
        """As the block's own ``forward``."""
        forward = super().forward
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        if torch.compiler.is_compiling():  # here the second pass does not update buffers
            return checkpoint(forward, *args, use_reentrant=False, **kwargs)
        contexts = functools.partial(_contexts, self, self.around_second_pass)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


@functools.cache
def _recomputed(block: type[nn.Module]) -> type[nn.Module]:
    return type(f'Recomputed{block.__name__}', (Recomputed, block), {})


def _contexts(block: nn.Module, around: Callable[[], AbstractContextManager]) -> tuple:
    """Contexts of the first and of the second pass."""
    return contextlib.nullcontext(), _buffers_held(block, around)


@contextlib.contextmanager
def _buffers_held(block: nn.Module, around: Callable[[], AbstractContextManager]) -> Iterator[None]:
    """Afterwards, reset the block's buffers, such as running statistics, to their values before."""
    buffers = list(block.buffers())
    before = [buffer.clone() for buffer in buffers]
    try:
        with around():
            yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
