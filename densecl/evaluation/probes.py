"""Both dense probes of a frozen backbone on a labelled set."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from .features import FrozenEncoder, dense_features
from .labelled import Labelled, LabelledPart
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
    """

    linear: Tensor
    retrieval: Tensor
    seconds: float

    def scores(self) -> dict[str, MeanIoU]:
        """``linear`` and ``retrieval``, over all test images."""
        return {name: mean_iou(getattr(self, name).sum(0)) for name in ('linear', 'retrieval')}


def probe(
    encoder: FrozenEncoder,
    labelled: Labelled,
    size: tuple[int, int],
    level: int = -1,
    seed: int = 0,
    **retrieval,
) -> Probed:
    """Linear and retrieval segmentation of the test part, learnt from the training part.

    Args:
        encoder: the frozen backbone.
        labelled: see :func:`~densecl.evaluation.labelled.open_labelled`.
        size: height and width that all images are scaled to; the figures are of this size.
        level: of the backbone.
        seed: of both probes.
        **retrieval: ``k``, ``temperature`` and ``cells`` of :func:`retrieval_segmentation`.
    """
    start = time.perf_counter()
    train, test = (_features(encoder, part, size, level) for part in (labelled.train, labelled.test))
    classes = len(labelled.classes)
    linear = linear_segmentation(*train, *test, classes, seed=seed)
    found = retrieval_segmentation(*train, *test, classes, seed=seed, **(RETRIEVAL | retrieval))
    return Probed(linear, found, time.perf_counter() - start)


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
