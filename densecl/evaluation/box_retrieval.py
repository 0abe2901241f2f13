"""Box-level probe for sets that have only boxes: are boxes of a class similar? The backbone stays frozen."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from densecl.numerics import full_precision

from .knn import class_accuracy, knn_predict
from .linear_classification import linear_predict


@dataclass(frozen=True)
class BoxAccuracy:
    """Accuracy of the predicted classes of given test boxes, in per cent.

    Attributes:
        knn: ``top1`` over all boxes and ``mean_class``, the mean over the classes of the test boxes.
        linear: the same for a logistic regression trained on the boxes in memory.
        memory: number of boxes in memory.
        tested: number of boxes that were classified.
        k: number of boxes that vote.
        temperature: temperature of the votes.
        absent: ids of classes without a test box; they do not count.
        unseen: ids of classes with test boxes but without a box in memory; they count as 0.
    """

    knn: dict[str, float]
    linear: dict[str, float]
    memory: int
    tested: int
    k: int
    temperature: float
    absent: tuple[int, ...]
    unseen: tuple[int, ...]


def box_retrieval(
    train: Tensor,
    train_boxes: Sequence[tuple[Tensor, Tensor]],
    test: Tensor,
    test_boxes: Sequence[tuple[Tensor, Tensor]],
    classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> BoxAccuracy:
    """Classify boxes by votes of the most similar labelled ones; see :func:`~densecl.evaluation.knn_predict`.

    Args:
        train: (N, C, h, w) maps, of any floating type.
        train_boxes: for each image (n, 4) boxes, see :func:`box_features`, and (n,) int64 class ids from 1.
        test: (M, C, h, w).
        test_boxes: the same for the test images.
        classes: number of classes, with background (0).
        k: number of boxes that vote; all if there are fewer.
        temperature: temperature of the votes.

    Raises:
        ValueError: there is no training box or no test box.
    """
    bank, labels = _pooled(train, train_boxes)
    queries, truth = _pooled(test, test_boxes)
    if not len(bank) or not len(queries):
        raise ValueError(
            f'the probe "boxes" needs boxes in both parts, got {len(bank)} to learn from and '
            f'{len(queries)} to classify'
        )
    k = min(k, len(bank))
    queries = queries.to(bank.device)
    found = knn_predict(queries, bank, labels, (k,), temperature)[k], linear_predict(queries, bank, labels)
    knn, linear = (class_accuracy(predicted.cpu(), truth) for predicted in found)
    known, wanted = (set(ids.tolist()) for ids in (labels, truth))
    absent, unseen = tuple(sorted(set(range(1, classes)) - wanted)), tuple(sorted(wanted - known))
    return BoxAccuracy(knn, linear, len(bank), len(queries), k, temperature, absent, unseen)


def _pooled(maps: Tensor, boxes: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Features of all boxes and their class ids, on the CPU."""
    features = [box_features(image, places) for image, (places, _) in zip(maps, boxes, strict=True)]
    return torch.cat(features), torch.cat([labels for _, labels in boxes])


def box_features(image: Tensor, boxes: Tensor) -> Tensor:
    """The mean feature of each box; cells are weighted by their area inside the box.

    Args:
        image: (C, h, w), of any floating type.
        boxes: (n, 4), x0 y0 x1 y1 as shares of the sides, with an area above 0.

    Returns:
        (n, C) float32 or better.
    """
    image = full_precision(image)
    x0, y0, x1, y1 = boxes.to(image).unbind(1)
    rows, columns = _coverage(y0, y1, image.shape[1]), _coverage(x0, x1, image.shape[2])
    return torch.einsum('nh,nw,chw->nc', rows, columns, image)  # n: boxes


def _coverage(start: Tensor, end: Tensor, cells: int) -> Tensor:
    """Shares of intervals (start and end, (n,) each, as shares of a side) in each cell: (n, cells), sum 1."""
    edges = torch.arange(cells + 1, device=start.device, dtype=start.dtype)
    inside = torch.minimum(edges[1:], cells * end[:, None]) - torch.maximum(
        edges[:-1], cells * start[:, None]
    )
    inside = inside.clamp(min=0)
    return inside / inside.sum(1, keepdim=True)
