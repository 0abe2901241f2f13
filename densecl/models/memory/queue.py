"""A ring of keys."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .journal import Journalled


class Queue(Journalled):
    """First-in first-out memory of unit vectors (MoCo, He et al., 2020, section 3.1).

    It starts with random unit vectors, as in the official code, and takes batches of any size. With each of
    ``length`` keys of width ``dim`` goes the position of its image in the data set, -1 where it is not known.
    """

    journalled = ('keys', 'images')

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        if length < 1 or dim < 1:
            raise ValueError(f'Queue: length and dim must be at least 1, got {length} and {dim}')
        self.register_buffer('keys', F.normalize(torch.randn(length, dim), dim=1))
        self.register_buffer('images', torch.full((length,), -1, dtype=torch.int64))
        for name in ('pointer', 'enqueued'):  # tensors: they travel with the checkpoint, nothing waits
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return len(self.keys)

    @torch.no_grad()
    def enqueue(self, keys: Tensor, images: Tensor | None = None, valid: Tensor | None = None) -> None:
        """Overwrite the oldest keys by (B, C) unit vectors of (B,) images; of more than K the last stay.

        Of (B,) bool ``valid`` only those that are true enter; None: all.
        """
        if images is None:
            images = torch.full_like(self.images[:1], -1).expand(len(keys))
        there = torch.ones_like(images, dtype=torch.bool) if valid is None else valid
        # Those that enter come last, in their order; what else is written is what was there.
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
        """(length,) bool, the keys that are real ones."""
        return torch.arange(len(self), device=self.keys.device) < self.enqueued
