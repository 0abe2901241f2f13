"""Both dense probes of a frozen backbone on a labelled set."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from .features import FrozenEncoder, dense_features
from .labelled import Labelled, LabelledPart, spread
from .linear_segmentation import linear_segmentation
from .retrieval_segmentation import retrieval_segmentation
from .segmentation import MeanIoU, mean_iou

#: Of the memory of the retrieval probe, see :func:`retrieval_segmentation`.
RETRIEVAL = dict(k=30, temperature=0.02, cells=40)


@dataclass(frozen=True)
class Probed:
    """What the probes say.

    Attributes:
        linear: (M, K, K) counts of pixels for each test image.
        retrieval: the same.
        seconds: of features and both probes together.
        shown: for :func:`draw_probe`, ``linear`` and ``retrieval``: (S, H, W) predicted labels of some test
            images.
    """

    linear: Tensor
    retrieval: Tensor
    seconds: float
    shown: dict[str, Tensor] = field(default_factory=dict)

    def scores(self) -> dict[str, MeanIoU]:
        """``linear`` and ``retrieval``, over all test images."""
        return {name: mean_iou(getattr(self, name).sum(0)) for name in ('linear', 'retrieval')}


def probe(
    encoder: FrozenEncoder,
    labelled: Labelled,
    size: tuple[int, int],
    level: int = -1,
    seed: int = 0,
    shown: int = 0,
    **retrieval,
) -> Probed:
    """Linear and retrieval segmentation of the test part, learnt from the training part.

    Args:
        encoder: the frozen backbone.
        labelled: see :func:`~densecl.evaluation.labelled.open_labelled`.
        size: height and width that all images are scaled to; the figures are of this size.
        level: of the backbone.
        seed: of both probes.
        shown: number of test images whose predicted labels are kept.
        **retrieval: ``k``, ``temperature`` and ``cells`` of :func:`retrieval_segmentation`.
    """
    start = time.perf_counter()
    train, test = (_features(encoder, part, size, level) for part in (labelled.train, labelled.test))
    classes = len(labelled.classes)
    kept = {name: _Kept(spread(len(labelled.test), shown)) for name in ('linear', 'retrieval')}
    linear = linear_segmentation(*train, *test, classes, seed=seed, seen=kept['linear'].see)
    retrieval = RETRIEVAL | retrieval
    found = retrieval_segmentation(*train, *test, classes, seed=seed, seen=kept['retrieval'].see, **retrieval)
    maps = {name: torch.stack(each.maps) for name, each in kept.items() if shown}
    return Probed(linear, found, time.perf_counter() - start, maps)


class _Kept:
    """Label maps at some positions of a stream of batches."""

    def __init__(self, positions: list[int]) -> None:
        self.positions, self.maps, self.passed = set(positions), [], 0

    def see(self, batch: Tensor) -> None:
        self.maps += [m for i, m in enumerate(batch, self.passed) if i in self.positions]
        self.passed += len(batch)


def draw_probe(probed: Probed, labelled: Labelled, size: tuple[int, int], folder: str | Path) -> list[Path]:
    """Write a picture of each image that was ``shown``: truth, linear and retrieval probe, side by side.

    Args:
        probed: of :func:`probe` with ``shown``.
        labelled, size: as they were given to it.
        folder: for the pictures, named after the images, in the folders that these lie in below a common one.
    """
    from densecl.visualization.canvas import colors, save_image, side_by_side
    from densecl.visualization.predictions import draw_segmentation
    from densecl.visualization.views import as_picture

    count = len(next(iter(probed.shown.values()), ()))
    part = labelled.test.part(spread(len(labelled.test), count))
    palette, names, written = colors(len(labelled.classes)), picture_names(part.images), []
    for index, (images, labels) in enumerate(part.batches(size, 1)):
        maps = [labels[0], *(each[index] for each in probed.shown.values())]
        image = as_picture(images[0].numpy())
        tiles = [draw_segmentation(image, m.numpy(), labelled.classes, palette) for m in maps]
        written.append(save_image(Path(folder) / names[index], side_by_side(tiles)))
    return written


def picture_names(paths: Sequence[Path]) -> list[Path]:
    """A PNG each: the path below the folder that all lie in; ``a.jpg.png`` where two would be ``a.png``."""
    root = os.path.commonpath([path.absolute().parent for path in paths]) if paths else ''
    inside = [path.absolute().relative_to(root) for path in paths]
    short = [path.with_suffix('.png') for path in inside]
    pairs = zip(inside, short, strict=True)
    return [one if short.count(one) == 1 else path.with_name(f'{path.name}.png') for path, one in pairs]


def _features(
    encoder: FrozenEncoder, part: LabelledPart, size: tuple[int, int], level: int
) -> tuple[Tensor, Tensor]:
    """Maps (N, C, h, w) float16 and labels (N, H, W) uint8."""
    labels = []

    def images():
        for batch, label in part.batches(size):
            labels.append(label)
            yield batch

    maps = dense_features(encoder, images(), level)
    return maps, torch.cat(labels)
