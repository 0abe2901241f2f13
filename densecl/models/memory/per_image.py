"""What is kept for every image of the data set, the same in all processes; a bank of vectors."""

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.distributed import all_gather, all_reduce
from densecl.structures import Batch

from .journal import Journalled


class PerImage(Journalled):
    """A number or a vector for every image, under a name.

    Each pair of views that a step scores may :meth:`read` what was there before the step and :meth:`collect`
    statistics; once a step :meth:`close` says what these come to, and :meth:`write` stores what follows.

    Args:
        images: size of the data set; None: :meth:`set_images` says it.
        owner: what error messages call it.
        **start: name -> what each image starts with, a number or a tensor (...); a buffer (images, ...) each.
    """

    def __init__(self, images: int | None, owner: str, **start: float | Tensor) -> None:
        super().__init__()
        self.images, self.owner = None, owner
        self._start = {name: torch.as_tensor(value) for name, value in start.items()}
        self._collected: list[tuple[Tensor, Tensor]] = []
        self.journalled = tuple(start)
        for name, value in self._start.items():
            self.register_buffer(name, value.new_empty(0, *value.shape))
        if images is not None:
            self.set_images(images)

    def initial(self, images: int) -> dict[str, Tensor]:
        """What so many images start with: a tensor (images, ...) a name."""
        return {name: x.expand(images, *x.shape).clone() for name, x in self._start.items()}

    def set_images(self, images: int) -> None:
        """Start with so many where there are none yet; a ValueError for none, or more than there are."""
        if images < 1:
            raise ValueError(f'{self.owner}: images must be at least 1, got {images}')
        if self.images is not None and self.images < images:
            raise ValueError(
                f'{self.owner} keeps state for {self.images} images, the data set has {images}: set '
                f'images={images}, or leave images out'
            )
        if self.images is None:
            self.images = images
            for name, value in self.initial(images).items():
                setattr(self, name, value.to(getattr(self, name)))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        saved = state_dict.get(prefix + next(iter(self._start)))
        if saved is not None and self.images is None:  # the checkpoint knows how many there are
            self.set_images(len(saved))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def indices(self, batch: Batch) -> Tensor:
        """(B,) positions of the batch's images in the data set.

        An IndexError where one is outside, a ValueError where they or the number of images are not known.
        """
        if self.images is None:
            raise ValueError(
                f'{self.owner}: the number of images is not known: pass images=len(dataset) or call '
                'set_images; in a run DataSizeHook does (default_hooks.data_size of '
                'configs/_base_/pretrain_runtime.py)'
            )
        if batch.indices is None:
            raise ValueError(
                f'{self.owner} keeps state for each image, but batch.indices is None: pass the positions '
                'of the images in the data set (Batch.of takes them from Views.indices)'
            )
        # Asking a GPU would mean waiting for it; a fake tensor has no values.
        if batch.indices.device.type == 'cpu' and type(batch.indices) is Tensor:
            for image in batch.indices.tolist():
                if not 0 <= image < self.images:
                    raise IndexError(
                        f'{self.owner}(images={self.images}) met image {image}: images must be the number '
                        'of images of the data set, len(dataset)'
                    )
        return batch.indices

    def read(self, batch: Batch, name: str) -> Tensor:
        """(B, ...) of the batch's images."""
        return getattr(self, name)[self.indices(batch)]

    @torch.no_grad()
    def collect(self, batch: Batch, counted: Tensor, *statistics: Tensor) -> None:
        """Add (B * N,) statistics of those rows of the B images where (B * N,) bool ``counted`` is true."""
        indices = self.indices(batch)
        rows = torch.stack([torch.ones_like(statistics[0]), *statistics], 1).double()
        rows = torch.where(counted[:, None], rows, 0.0)
        self._collected.append((indices, rows.view(len(indices), -1, rows.shape[1]).sum(1)))

    @torch.no_grad()
    def close(self) -> tuple[Tensor, ...] | None:
        """Means of the statistics that all processes collected since the last call; None without any.

        (G,) positions of images, in which one may come several times, and for each statistic its mean over
        the rows of each of these images, (G,) float64, NaN for an image without any.
        """
        if not self._collected:
            return None
        indices, rows = (torch.cat(x) for x in zip(*self._collected, strict=True))
        self._collected = []
        images = all_gather(indices).sort().values
        # Equal images stand together: the first place of each takes the sum. (unique() would wait.)
        total = rows.new_zeros(len(images), rows.shape[1])
        total = total.index_add(0, torch.searchsorted(images, indices), rows)
        total = all_reduce(total)[torch.searchsorted(images, images)]
        return images, *(total[:, 1:] / total[:, :1]).unbind(1)

    @torch.no_grad()
    def write(self, images: Tensor, **rows: Tensor) -> None:
        """Store (G, ...) rows of (G,) images, those of all processes.

        Of several rows of one image the last counts, on every device alike; what is NaN stays as it was.
        """
        last = last_of_equals(images)
        for name, new in rows.items():
            stored = getattr(self, name)
            new = new[last].to(stored.dtype)
            self.overwrite(name, images, torch.where(new.isnan(), stored[images], new))


def last_of_equals(values: Tensor) -> Tensor:
    """For each of (G,) integers the place of the last one that equals it, (G,) int64."""
    values = values.contiguous()
    order = values.argsort(stable=True)
    return order[torch.searchsorted(values[order], values, right=True) - 1]


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
        return random_bits(images, count, number + self.seed * 1_000_003) % len(self)


def random_bits(images: Tensor, count: int, number: Tensor) -> Tensor:
    """(N, count) int64 draws from [0, 2^63) that depend on the (N,) images and the () int64 number alone."""
    stream = _mix(_mix(number) + (images + 1) * _GAMMA)
    steps = torch.arange(1, count + 1, device=images.device) * _GAMMA
    return _mix(stream[:, None] + steps) & _POSITIVE


# SplitMix64 (Steele, Lea and Flood, 2014): a counter in, 64 random bits out, in int64 that wraps around.
_POSITIVE = (1 << 63) - 1
_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)


def _mix(x: Tensor) -> Tensor:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, None)):
        # int64 shifts its sign in: mask what comes from the left
        x = x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))
        x = x if factor is None else x * (factor - (1 << 64))
    return x
