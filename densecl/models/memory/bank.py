"""One vector an image of the data set."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MemoryBank(nn.Module):
    """A moving average of each image's embedding (NPID, Wu et al., 2018, section 3.2, official code).

    Where several processes train, each must be told of the images of all: then the banks stay equal.

    Args:
        images: number n of images; None: not known yet, :meth:`resize` says it.
        dim: width C of a vector.
        momentum: share of an image's vector that is kept when it is seen again.
        init: ``'uniform'`` between -sqrt(3 / C) and sqrt(3 / C), vectors of length about 1 (official code,
            where C is 128), or ``'unit'``, random unit vectors (VISSL).
        seed: of the initial vectors and of what :meth:`draw` draws.
    """

    def __init__(
        self,
        images: int | None,
        dim: int,
        momentum: float = 0.5,
        init: str = 'uniform',
        seed: int = 0,
    ) -> None:
        super().__init__()
        if init not in ('uniform', 'unit'):
            raise ValueError(f"MemoryBank: init must be 'uniform' or 'unit', got {init!r}")
        if not 0 <= momentum < 1:
            raise ValueError(f'MemoryBank: momentum must lie in [0, 1), got {momentum}')
        self.momentum = momentum
        self.init = init
        self.seed = seed
        self.register_buffer('vectors', torch.empty(0, dim))
        if images is not None:
            self.resize(images)

    def __len__(self) -> int:
        return len(self.vectors)

    def resize(self, images: int) -> None:
        """Start anew with ``images`` vectors, the same in every process."""
        if images < 1:
            raise ValueError(f'MemoryBank: images must be at least 1, got {images}')
        generator = torch.Generator().manual_seed(self.seed)
        shape, bound = (images, self.vectors.shape[1]), (3 / self.vectors.shape[1]) ** 0.5
        if self.init == 'uniform':
            vectors = (2 * torch.rand(shape, generator=generator) - 1) * bound
        else:
            vectors = F.normalize(torch.randn(shape, generator=generator), dim=1)
        self.vectors = vectors.to(self.vectors)

    @torch.no_grad()
    def update(self, images: Tensor, features: Tensor) -> None:
        """``m = norm(momentum * m + (1 - momentum) * feature)`` for (B,) images and (B, C) unit features.

        Of several features of one image the last counts, on every device alike.
        """
        rows = torch.arange(len(images), device=images.device)
        last = rows.new_full((len(self),), -1).scatter_reduce_(0, images, rows, 'amax')[images]
        before = self.vectors[images]
        after = self.momentum * before + (1 - self.momentum) * features[last].to(before.dtype)
        self.vectors[images] = F.normalize(after, dim=1)

    def draw(self, images: Tensor, count: int, number: Tensor) -> Tensor:
        """``count`` uniform draws for each image with replacement, the image itself not excluded.

        What is drawn depends on (seed, number, image) alone, not on a generator's state: a resumed run
        draws the same, and so do any number of processes that share a batch.

        Args:
            images: (N,) int64.
            count: K.
            number: () int64, tells one set of draws from the next.

        Returns:
            (N, K) int64, positions in the bank.
        """
        stream = _mix(_mix(number + self.seed * 1_000_003) + (images + 1) * _GAMMA)
        steps = torch.arange(1, count + 1, device=images.device) * _GAMMA
        return (_mix(stream[:, None] + steps) & _POSITIVE) % len(self)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        saved = state_dict.get(f'{prefix}vectors')
        if saved is not None and not len(self):  # the checkpoint knows how many images there are
            self.vectors = self.vectors.new_empty(len(saved), self.vectors.shape[1])
        super()._load_from_state_dict(state_dict, prefix, *args)


# SplitMix64 (Steele, Lea and Flood, 2014): a counter in, 64 random bits out, in int64 that wraps around.
_POSITIVE = (1 << 63) - 1
_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)


def _mix(x: Tensor) -> Tensor:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, None)):
        # int64 shifts its sign in: mask what comes from the left
        x = x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))
        x = x if factor is None else x * (factor - (1 << 64))
    return x
