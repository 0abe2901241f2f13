"""Numbers that a loss keeps for every image of the data set, the same on all ranks."""

import torch
from torch import Tensor, nn

from densecl.distributed import all_gather, all_reduce
from densecl.schedule import Clock

from .samples import Samples


def check_images(have: int | None, images: int, owner: str) -> bool:
    """Whether the state of ``owner``, for ``have`` images, is still to be made for a data set of ``images``.

    Raises:
        ValueError: it was made for fewer.
    """
    if have is not None and have < images:
        raise ValueError(
            f'{owner} keeps state for {have} images, the data set has {images}: set images={images}, '
            'or leave images out'
        )
    return have is None


def image_indices(samples: Samples, images: int | None, owner: str) -> Tensor:
    """(B,) positions in a data set of ``images``; ``owner`` is who keeps state for each.

    Raises:
        ValueError: where they are missing, or the number of images is not known.
        IndexError: where one is beyond the data set; a GPU reports that by itself.
    """
    if images is None:
        raise ValueError(
            f'{owner}: the number of images is not known: pass images=len(dataset) or call set_images; in a '
            "run DataSizeHook does (default_hooks.data_size of configs/_base_/pretrain_runtime.py)"
        )
    if samples.indices is None:
        raise ValueError(
            f'{owner} keeps numbers for each image, but samples.indices is None: pass the positions of '
            'the images in the data set (heads take them from Views.indices)'
        )
    on_host = samples.indices.device.type == 'cpu'  # asking a GPU would mean waiting for it
    if on_host and len(samples.indices) and int(samples.indices.max()) >= images:
        raise IndexError(
            f'{owner}(images={images}) met image {int(samples.indices.max())}: images must be the '
            'number of images of the data set, len(dataset)'
        )
    return samples.indices


class PerImage(nn.Module):
    """Named numbers for every image.

    A step may score several pairs of views of one batch, a call each. All of them read the numbers from
    before the step, and the step leaves behind what the mean of all their statistics makes of these; so do
    the official codes, which score both views at once. With several rows an image, as dense heads
    have them, each row is one more view. A step is known by the clock and the images of the batch; without
    a clock each call is one.

    Args:
        images: size of the data set; None: :meth:`set_images` says it.
        owner: what error messages call it.
        **initial: name -> value that every image starts with; a buffer (images,) each.
    """

    def __init__(self, images: int | None, owner: str, **initial: float) -> None:
        super().__init__()
        if images is not None and images < 1:
            raise ValueError(f'{owner}: images must be at least 1, got {images}')
        self.images, self.owner, self.names = images, owner, tuple(initial)
        for name, value in initial.items():
            self.register_buffer(name, torch.full((images or 0,), value))
        self.initial = initial
        self.clock: Clock | None = None
        # Of the step in progress: clock, images (U,), their numbers before it, sum and count of statistics.
        self._step: int | None = None
        self._batch: Tensor | None = None
        self._before: dict[str, Tensor] = {}
        self._total: Tensor | float = 0.0

    def set_images(self, images: int) -> None:
        """Make the numbers for so many images, where they were made for none; ``DataSizeHook`` calls it.

        Raises:
            ValueError: they were made for fewer.
        """
        if check_images(self.images, images, self.owner):
            self.images = images
            for name, value in self.initial.items():
                setattr(self, name, torch.full((images,), value, device=getattr(self, name).device))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        saved = state_dict.get(prefix + self.names[0])
        if saved is not None and self.images is None:  # the checkpoint knows how many there are
            self.set_images(len(saved))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def before(self, samples: Samples) -> dict[str, Tensor]:
        """(B,) numbers of the batch's images before this step, by name."""
        indices = image_indices(samples, self.images, self.owner)
        if not self.training:
            return {name: getattr(self, name)[indices] for name in self.names}
        self._begin(all_gather(indices).unique())
        where = torch.searchsorted(self._batch, indices)
        return {name: values[where] for name, values in self._before.items()}

    def _begin(self, batch: Tensor) -> None:
        step = None if self.clock is None else self.clock.step
        same = step is not None and step == self._step and torch.equal(batch, self._batch)
        if not same:
            self._step, self._batch, self._total = step, batch, 0.0
            self._before = {name: getattr(self, name)[batch] for name in self.names}

    @torch.no_grad()
    def learn(self, samples: Samples, valid: Tensor, *statistics: Tensor) -> tuple[Tensor, ...]:
        """Add the rows' statistics to those of the step; follows :meth:`before`.

        Args:
            samples: the images behind the rows.
            valid: (N,) bool, the rows that count.
            statistics: (N,) each.

        Returns:
            Their means over all of the step so far, on all ranks, (U,) float64 each: one for every image
            of the batch, NaN for an image without a valid row.
        """
        rows = torch.stack([torch.ones_like(statistics[0]), *statistics], 1).double()
        rows = torch.where(valid[:, None], rows, 0.0)
        where = torch.searchsorted(self._batch, samples.of_queries(samples.indices))
        total = rows.new_zeros(len(self._batch), rows.shape[1]).index_add(0, where, rows)
        self._total = self._total + all_reduce(total)
        return (self._total[:, 1:] / self._total[:, :1]).unbind(1)

    @torch.no_grad()
    def write(self, **values: Tensor) -> None:
        """Store (U,) numbers of the batch's images; those that are NaN stay as they were."""
        for name, new in values.items():
            kept = torch.where(new.isnan(), self._before[name].double(), new)
            stored = getattr(self, name)
            stored[self._batch] = kept.to(stored.dtype)

    def number(self, name: str) -> Tensor:
        """(U,) float64 numbers of the batch's images before this step."""
        return self._before[name].double()
