"""A queue of keys, stored as a ring buffer."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .journal import Journalled


class Queue(Journalled):
    """First-in first-out memory of unit vectors (MoCo, He et al., 2020, section 3.1).

    It starts with random unit vectors, as in the official code, and takes batches of any size. It holds
    ``length`` keys of width ``dim``. For each key it also stores the position of its image in the data set,
    -1 where unknown.

    ``keys`` changes in place when the step's keys enter, which is before the backward pass. A loss whose
    gradient needs them takes ``keys.clone()``.
    """

    journalled = ('keys', 'images')

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        if length < 1 or dim < 1:
            raise ValueError(f'Queue: length and dim must be at least 1, got {length} and {dim}')
        self.register_buffer('keys', F.normalize(torch.randn(length, dim), dim=1))
        self.register_buffer('images', torch.full((length,), -1, dtype=torch.int64))
        for name in ('pointer', 'enqueued'):  # as tensors they are in checkpoints, and nothing waits for them
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.keys)

    @torch.no_grad()
    def enqueue(self, keys: Tensor, images: Tensor | None = None, valid: Tensor | None = None) -> None:
        """Replace the oldest keys by ``keys``, unit vectors (B, C) of ``images`` (B,).

        Only keys where ``valid``, (B,) bool, is true enter; None: all but zeros, which stand for images
        without a unit. If there are more than the queue holds, the last ones stay.
        """
        if images is None:
            images = torch.full_like(self.images[:1], -1).expand(len(keys))
        there = keys.any(1) if valid is None else valid
        # Keys that enter are sorted to the end, in order. The other slots get their old values again.
        order = there.byte().argsort(stable=True)[-len(self) :]
        entering, first = there.sum(), self.pointer - len(order)
        slots = (torch.arange(len(order), device=order.device) + first + entering) % len(self)
        enters = there[order]
        keys = torch.where(enters[:, None], keys[order].to(self.keys.dtype), self.keys[slots])
        self.overwrite('keys', slots, keys)
        self.overwrite('images', slots, torch.where(enters, images[order], self.images[slots]))
        self.pointer.add_(entering).remainder_(len(self))
        self.enqueued.add_(entering)

    def filled(self) -> Tensor:
        """Which keys come from images, not from the random start, (length,) bool."""
        return torch.arange(len(self), device=self.keys.device) < self.enqueued
