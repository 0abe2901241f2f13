"""Measures backbones for the guard, on fixed photos and a labelled set."""

import copy
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from densecl.datasets import PretrainDataset, decode_image
from densecl.datasets.subset import evenly

from .features import FrozenEncoder
from .guard import Measurement
from .labelled import Labelled, open_labelled, scaled, usual_size
from .probes import probe
from .segmentation import iou_counts
from .signals import Signals


class Measuring:
    """Measures backbones, always on the same images.

    Args:
        photos: a folder, a list of files, or a :class:`~densecl.datasets.PretrainDataset`, read without its
            transforms.
        count: number of photos; also the largest number of labelled images of either part.
        size: height and width; by default the usual size of the labelled set, else of the photos.
        labelled: a path for :func:`~densecl.evaluation.labelled.open_labelled`, or None.
        batch_size: number of images that are encoded together.
        decoder: decoder of photos and labelled images, see :func:`read_photos`.

    Raises:
        ValueError, FileNotFoundError: there are no such images, or too few.
    """

    def __init__(
        self,
        photos: str | Path | Sequence[str] | PretrainDataset,
        count: int = 64,
        size: tuple[int, int] | None = None,
        labelled: str | Path | None = None,
        batch_size: int = 16,
        decoder: Callable | None = None,
    ) -> None:
        self.labelled: Labelled | None = None
        if labelled:
            self.labelled = open_labelled(labelled, decoder=decoder).at_most(count)
        size = size or (self.labelled and self.labelled.use_size())
        images, self.names = read_photos(photos, count, size, decoder)
        self.size = tuple(images.shape[1:3])
        self.signals = Signals(images, batch_size)

    def set_start(self, encoder: FrozenEncoder) -> None:
        """Set the encoder with which later measurements are compared."""
        self.signals.set_reference(encoder)

    def measure(self, encoder: FrozenEncoder) -> Measurement:
        """Measure all signals, and both probes if there are labels."""
        begun, counts = time.perf_counter(), None
        signals = self.signals.measure(encoder)
        if self.labelled is not None:
            found = probe(encoder, self.labelled, self.size)
            counts = {name: iou_counts(getattr(found, name)) for name in ('linear', 'retrieval')}
        return Measurement(signals, counts, time.perf_counter() - begun)


def read_photos(
    photos: str | Path | Sequence[str] | PretrainDataset,
    count: int,
    size: tuple[int, int] | None = None,
    decoder: Callable | None = None,
) -> tuple[Tensor, list[str]]:
    """``count`` photos, evenly spread and not augmented, (N, H, W, C) at one size, and their names.

    Args:
        photos: see :class:`Measuring`.
        count: largest number of photos.
        size: height and width; None: the usual size of these photos.
        decoder: for files that are not 8-bit RGB, see :class:`~densecl.datasets.PretrainDataset`.
    """
    if isinstance(photos, str | Path):
        photos = PretrainDataset(photos, **({'decoder': decoder} if decoder else {}))
    if isinstance(photos, PretrainDataset):
        plain = copy.copy(photos)
        plain.transforms, plain.provider = [], None
        read = [plain[i] for i in evenly(len(plain), count)]
        images, names = ([result[key] for result in read] for key in ('image', 'path'))
    else:
        decode = decoder or decode_image
        names = [str(photos[i]) for i in evenly(len(photos), count)]
        images = [decode(name, name) for name in names]
    if not images:
        raise ValueError('the list of photos for the guard is empty; give files, a folder, or None')
    size = size or usual_size([image.shape for image in images])
    return torch.from_numpy(np.stack([scaled(image, size) for image in images])), names
