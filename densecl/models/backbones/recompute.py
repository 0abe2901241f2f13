"""Backbones that compute their blocks again in the backward pass instead of keeping what is inside them."""

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

    A block is an entry of a list of which no entry is a single layer or a list; there is no such list in it.
    What is inside a traced graph is never called as a module, so there are no blocks there.
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
    """Let every block compute again in the backward pass (Chen et al., 2016, arXiv:1604.06174), in place.

    Values and gradients stay the same to the last bit: dropout draws the same, and batch statistics are
    updated by the first pass alone. Names in the state dict stay. Passes without gradient are as before.

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
    """What is put in front of a block's own class.

    Attributes:
        around_second_pass: makes a context in which the pass of the time is computed again, as
            :func:`~densecl.models.backbones.sparse.sparse` needs it.
    """

    around_second_pass: Callable[[], AbstractContextManager] = contextlib.nullcontext

    def forward(self, *args, **kwargs):
        """As the block's own."""
        forward = super().forward
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        if torch.compiler.is_compiling():  # its backward pass does not update buffers again
            return checkpoint(forward, *args, use_reentrant=False, **kwargs)
        contexts = functools.partial(_contexts, self, self.around_second_pass)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


@functools.cache
def _recomputed(block: type[nn.Module]) -> type[nn.Module]:
    return type(f'Recomputed{block.__name__}', (Recomputed, block), {})


def _contexts(block: nn.Module, around: Callable[[], AbstractContextManager]) -> tuple:
    """Of the first pass, and of the second."""
    return contextlib.nullcontext(), _buffers_held(block, around)


@contextlib.contextmanager
def _buffers_held(block: nn.Module, around: Callable[[], AbstractContextManager]) -> Iterator[None]:
    """Put running statistics, or what else the pass changes, back as they were before it."""
    buffers = list(block.buffers())
    before = [buffer.clone() for buffer in buffers]
    try:
        with around():
            yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
