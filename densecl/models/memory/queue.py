"""A ring of keys."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Queue(nn.Module):
    """First-in first-out memory of unit vectors (MoCo, He et al., 2020, section 3.1).

    It starts with random unit vectors, as in the official code, and takes batches of any size. With each of
    ``length`` keys of width ``dim`` goes the position of its image in the data set, -1 where it is not known.
    """

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        if length < 1 or dim < 1:
            raise ValueError(f'Queue: length and dim must be at least 1, got {length} and {dim}')
        self.register_buffer('keys', F.normalize(torch.randn(length, dim), dim=1))
        self.register_buffer('images', torch.full((length,), -1, dtype=torch.int64))
        for name in ('pointer', 'enqueued'):  # tensors: they travel with the checkpoint, nothing waits
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        self._count: int | None = 0  # ``enqueued`` as the host knows it; None: not yet

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._count = None

    def __len__(self) -> int:
        return len(self.keys)

    @torch.no_grad()
    def enqueue(self, keys: Tensor, images: Tensor | None = None) -> None:
        """Overwrite the oldest keys by (B, C) unit vectors of (B,) images; of more than K the last stay."""
        count = len(keys)
        skipped = max(count - len(self), 0)
        slots = torch.arange(skipped, count, device=self.keys.device).add_(self.pointer)
        slots %= len(self)
        self.keys[slots] = keys[skipped:].to(self.keys.dtype)
        self.images[slots] = -1 if images is None else images[skipped:]
        self.pointer.add_(count).remainder_(len(self))
        self.enqueued.add_(count)
        if self._count is not None:
            self._count += count

    def is_full(self) -> bool:
        """Whether all keys are real ones; waits for the device once after the queue was loaded."""
        if self._count is None:
            self._count = int(self.enqueued)
        return self._count >= len(self)
