"""State for every image of the data set, equal in all processes; and a memory bank of vectors."""

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.distributed import all_gather, all_reduce
from densecl.messages import check_choice
from densecl.structures import Batch

from .journal import Journalled


class PerImage(Journalled):
    """Named numbers or vectors for every image.

    For each pair of views, a step may :meth:`read` the state from before the step and :meth:`collect`
    statistics. Once a step, :meth:`close` returns the means of these statistics, and :meth:`write` stores the
    new state.

    Args:
        images: size of the data set; None: :meth:`set_images` sets it later.
        owner: name of the user of this state, for error messages.
        **start: name -> initial value of each image, a number or a tensor (...). Each becomes a buffer
            (images, ...).
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
        """Initial state: name -> tensor (images, ...)."""
        return {name: x.expand(images, *x.shape).clone() for name, x in self._start.items()}

    def set_images(self, images: int) -> None:
        """Set the number of images, if it is not set yet.

        Raises:
            ValueError: the number is 0, or larger than the number that is already set.
        """
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
        if saved is not None and self.images is None:  # take the number of images from the checkpoint
            self.set_images(len(saved))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def indices(self, batch: Batch) -> Tensor:
        """Positions of the batch's images in the data set, (B,).

        Raises:
            IndexError: a position is not below the number of images.
            ValueError: the positions or the number of images are not known.
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
        # Checked on the CPU only: reading from a GPU would wait for it; a fake tensor has no values.
        if batch.indices.device.type == 'cpu' and type(batch.indices) is Tensor:
            for image in batch.indices.tolist():
                if not 0 <= image < self.images:
                    raise IndexError(
                        f'{self.owner}(images={self.images}) met image {image}: images must be the number '
                        'of images of the data set, len(dataset)'
                    )
        return batch.indices

    def read(self, batch: Batch, name: str) -> Tensor:
        """The state ``name`` of the batch's images, (B, ...)."""
        return getattr(self, name)[self.indices(batch)]

    @torch.no_grad()
    def collect(self, batch: Batch, counted: Tensor, *statistics: Tensor) -> None:
        """Add statistics of N rows of each of B images, (B * N,) each.

        Only rows count where ``counted``, (B * N,) bool, is true.
        """
        indices = self.indices(batch)
        rows = torch.stack([torch.ones_like(statistics[0]), *statistics], 1).double()
        rows = torch.where(counted[:, None], rows, 0.0)
        self._collected.append((indices, rows.view(len(indices), -1, rows.shape[1]).sum(1)))

    @torch.no_grad()
    def close(self) -> tuple[Tensor, ...] | None:
        """Means of the statistics that all processes collected since the last call; None if there are none.

        Returns:
            (G,), positions of images, which may repeat; and for each statistic its mean over all rows of each
            of these images, (G,) float64, NaN for an image without rows.
        """
        if not self._collected:
            return None
        indices, rows = (torch.cat(x) for x in zip(*self._collected, strict=True))
        self._collected = []
        images = all_gather(indices).sort().values
        # Equal images are neighbours: the first place of each takes the sum. (unique() would wait.)
        total = rows.new_zeros(len(images), rows.shape[1])
        total = total.index_add(0, torch.searchsorted(images, indices), rows)
        total = all_reduce(total)[torch.searchsorted(images, images)]
        return images, *(total[:, 1:] / total[:, :1]).unbind(1)

    @torch.no_grad()
    def write(self, images: Tensor, **rows: Tensor) -> None:
        """Store rows (G, ...) for images (G,), which are those of all processes.

        If an image repeats, its last row is stored, on every kind of device. Where a row is NaN, the old
        value stays.
        """
        last = last_of_equals(images)
        for name, new in rows.items():
            stored = getattr(self, name)
            new = new[last].to(stored.dtype)
            self.overwrite(name, images, torch.where(new.isnan(), stored[images], new))


def last_of_equals(values: Tensor) -> Tensor:
    """For each of G integers, the place of the last integer that equals it: (G,) -> (G,) int64."""
    values = values.contiguous()
    order = values.argsort(stable=True)
    return order[torch.searchsorted(values[order], values, right=True) - 1]


class MemoryBank(PerImage):
    """A moving average of each image's embedding (NPID, Wu et al., 2018, section 3.2, official code).

    With several processes, each must be given the images of all processes: only then the banks stay equal.

    Args:
        images: number n of images; None: :meth:`set_images` sets it later.
        dim: width C of a vector.
        momentum: share of an image's vector that is kept when the image is seen again.
        init: ``'uniform'`` between -sqrt(3 / C) and sqrt(3 / C), vectors of length about 1 (official code,
            where C is 128), or ``'unit'``, random unit vectors (VISSL).
        seed: of the initial vectors and of :meth:`draw`.
    """

    def __init__(
        self, images: int | None, dim: int, momentum: float = 0.5, init: str = 'uniform', seed: int = 0
    ) -> None:
        check_choice('MemoryBank: init', init, ('uniform', 'unit'))
        if not 0 <= momentum < 1:
            raise ValueError(f'MemoryBank: momentum must lie in [0, 1), got {momentum}')
        super().__init__(None, 'MemoryBank', vectors=torch.zeros(dim))
        self.momentum, self.init, self.seed = momentum, init, seed
        if images is not None:
            self.set_images(images)

    def __len__(self) -> int:
        return len(self.vectors)

    def initial(self, images):
        """See :class:`PerImage`: random vectors, equal in every process."""
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
        """Draw ``count`` positions in the bank for each image, uniformly and with replacement.

        The image itself is not excluded. For images (N,) int64 the result is (N, ``count``) int64. It depends
        only on the seed, ``number`` and the image: a resumed run draws the same, with any number of processes
        that share a batch. ``number``, () int64, must differ between sets of draws.
        """
        return random_bits(images, count, number + self.seed * 1_000_003) % len(self)


def random_bits(images: Tensor, count: int, number: Tensor) -> Tensor:
    """Draws from [0, 2^63), (N, count) int64, that depend only on ``images`` (N,) and ``number`` () int64."""
    stream = _mix(_mix(number) + (images + 1) * _GAMMA)
    steps = torch.arange(1, count + 1, device=images.device) * _GAMMA
    return _mix(stream[:, None] + steps) & _POSITIVE


# SplitMix64 (Steele, Lea and Flood, 2014) turns a counter into 64 random bits, here in int64 with overflow.
_POSITIVE = (1 << 63) - 1
_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)


def _mix(x: Tensor) -> Tensor:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, None)):
        # a right shift of int64 copies the sign bit: the mask removes these copies
        x = x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))
        x = x if factor is None else x * (factor - (1 << 64))
    return x
