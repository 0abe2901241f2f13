"""The label-free signals of the guard, measured on fixed photos."""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from .correspondence import CHANGES, correspondence, second_images
from .drift import cluster_labels, label_retrieval, linear_cka
from .dse import dse
from .features import FrozenEncoder, dense_features

# A quarter of a set's photos, and at least this many, are also encoded in three changed versions.
_CHANGED = 8


@dataclass(frozen=True)
class Signal:
    """One meter's value.

    Attributes:
        value: mean over the two sets.
        spread: the difference between the two disjoint sets of photos.
        seconds: duration, without the features.
    """

    value: float
    spread: float
    seconds: float = 0.0


#: All signals.
SIGNALS = ('dse', 'correspondence', 'photometric', 'positional', 'cka', 'labels')
_NAN = Signal(math.nan, math.nan)


class Signals:
    """Measures a backbone on two disjoint sets of photos, always the same ones.

    * ``dse``: see :func:`~densecl.evaluation.dse.dse`.
    * ``correspondence``: accuracy above chance, mean of the changes ``scale`` and ``flip``. (``photometric``
      is measured too, but does not count, as random networks are good at it.)
    * ``positional``: in the same changes, the share of cells that are wrongly matched to the cell with their
      own index; lower is better.
    * ``cka``: similarity to the reference.
    * ``labels``: retrieval of the reference's k-means labels.

    Args:
        images: (N, H, W, C) as the encoder takes them, N >= 8, at the size of use; even positions are one
            set, odd ones the other.
        batch_size: number of images that are encoded together.

    Raises:
        ValueError: fewer than 8 images.
    """

    def __init__(self, images: Tensor, batch_size: int = 16) -> None:
        if len(images) < 8:
            raise ValueError(f'the guard needs at least 8 photos to measure on, got {len(images)}')
        self.sets = [images[0::2], images[1::2]]
        self.batch_size = batch_size
        self.reference: list[tuple[Tensor, Tensor]] = []

    def set_reference(self, encoder: FrozenEncoder) -> None:
        """Set the encoder (the start) with which later measurements are compared."""
        maps = [self._maps(encoder, images) for images in self.sets]
        self.reference = [(m, cluster_labels(m)) for m in maps]

    def measure(self, encoder: FrozenEncoder) -> dict[str, Signal]:
        """Measure all of ``SIGNALS``; all are NaN if a feature is not finite."""
        clock = _Clock()
        found: dict[str, list[float]] = {}
        for images, (reference, labels) in zip(self.sets, self.reference, strict=True):
            maps = self._maps(encoder, images)
            if not maps.isfinite().all():  # the training diverged
                return dict.fromkeys(SIGNALS, _NAN)
            clock.lap('')
            values = {'dse': dse(maps).value}
            clock.lap('dse')
            changed = max(_CHANGED, len(images) // 4)
            values |= self._correspondence(encoder, images[:changed], maps[:changed])
            clock.lap('correspondence')
            values['cka'] = linear_cka(reference, maps)
            clock.lap('cka')
            values['labels'] = label_retrieval(maps, labels)
            clock.lap('labels')
            for name, value in values.items():
                found.setdefault(name, []).append(value)
        return {
            name: Signal((a + b) / 2, abs(a - b), clock.seconds.get(name, 0.0))
            for name, (a, b) in found.items()
        }

    def _correspondence(self, encoder: FrozenEncoder, images: Tensor, maps: Tensor) -> dict[str, float]:
        above, positional = {}, {}
        for change in CHANGES:
            changed, affine = second_images(images, change)
            found = correspondence(maps, self._maps(encoder, changed), affine)
            above[change], positional[change] = found.accuracy - found.chance, found.same_index
        mean, shortcut = ((each['scale'] + each['flip']) / 2 for each in (above, positional))
        return {'correspondence': mean, 'photometric': above['photometric'], 'positional': shortcut}

    def _maps(self, encoder: FrozenEncoder, images: Tensor) -> Tensor:
        maps = dense_features(encoder, images.split(self.batch_size))
        if min(maps.shape[2:]) < 3:
            raise ValueError(
                f'images of {images.shape[1]} x {images.shape[2]} give {maps.shape[2]} x {maps.shape[3]} '
                'cells, the guard needs 3 x 3 or more: raise its size'
            )
        return maps


class _Clock:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def interpolated(start: dict[str, Tensor], end: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """``(1 - alpha) * start + alpha * end`` of every floating tensor (WiSE-FT, Wortsman et al., 2022,
    equation 1).

    Equal tensors, such as frozen batch statistics, stay equal bit for bit. Tensors of other types are taken
    from the end.
    """
    mixed = {}
    for name, value in end.items():
        if value.is_floating_point():
            mixed[name] = torch.where(value == start[name], value, start[name].lerp(value, alpha))
        else:
            mixed[name] = value.clone()
    return mixed
