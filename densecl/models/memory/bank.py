"""One vector an image of the data set."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .per_image import PerImage


class MemoryBank(PerImage):
    """A moving average of each image's embedding (NPID, Wu et al., 2018, section 3.2, official code).

    Where several processes train, each must be told of the images of all: then the banks stay equal.

    Args:
        images: number n of images; None: not known yet, :meth:`set_images` says it.
        dim: width C of a vector.
        momentum: share of an image's vector that is kept when it is seen again.
        init: ``'uniform'`` between -sqrt(3 / C) and sqrt(3 / C), vectors of length about 1 (official code,
            where C is 128), or ``'unit'``, random unit vectors (VISSL).
        seed: of the initial vectors and of what :meth:`draw` draws.
    """

    def __init__(
        self, images: int | None, dim: int, momentum: float = 0.5, init: str = 'uniform', seed: int = 0
    ) -> None:
        if init not in ('uniform', 'unit'):
            raise ValueError(f"MemoryBank: init must be 'uniform' or 'unit', got {init!r}")
        if not 0 <= momentum < 1:
            raise ValueError(f'MemoryBank: momentum must lie in [0, 1), got {momentum}')
        super().__init__(None, 'MemoryBank', vectors=torch.zeros(dim))
        self.momentum, self.init, self.seed = momentum, init, seed
        if images is not None:
            self.set_images(images)

    def __len__(self) -> int:
        return len(self.vectors)

    def initial(self, images):
        """See :class:`PerImage`: random vectors, the same in every process."""
        generator = torch.Generator().manual_seed(self.seed)
        shape, bound = (images, self.vectors.shape[1]), (3 / self.vectors.shape[1]) ** 0.5
        if self.init == 'uniform':
            return {'vectors': (2 * torch.rand(shape, generator=generator) - 1) * bound}
        return {'vectors': F.normalize(torch.randn(shape, generator=generator), dim=1)}

    @torch.no_grad()
    def update(self, images: Tensor, features: Tensor) -> None:
        """``m = norm(momentum * m + (1 - momentum) * feature)`` for (B,) images and (B, C) unit features."""
        after = self.momentum * self.vectors[images] + (1 - self.momentum) * features.to(self.vectors)
        self.write(images, vectors=F.normalize(after, dim=1))

    def draw(self, images: Tensor, count: int, number: Tensor) -> Tensor:
        """``count`` uniform draws for each image with replacement, the image itself not excluded.

        Of (N,) images int64 positions (N, ``count``) in the bank. They depend on (seed, number, image) alone:
        a resumed run draws the same, and so do any number of processes that share a batch. The () int64
        ``number`` tells one set of draws from the next.
        """
        stream = _mix(_mix(number + self.seed * 1_000_003) + (images + 1) * _GAMMA)
        steps = torch.arange(1, count + 1, device=images.device) * _GAMMA
        return (_mix(stream[:, None] + steps) & _POSITIVE) % len(self)


# SplitMix64 (Steele, Lea and Flood, 2014): a counter in, 64 random bits out, in int64 that wraps around.
_POSITIVE = (1 << 63) - 1
_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)


def _mix(x: Tensor) -> Tensor:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, None)):
        # int64 shifts its sign in: mask what comes from the left
        x = x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))
        x = x if factor is None else x * (factor - (1 << 64))
    return x
