"""Retrieval probe: segmentation by the nearest cells of labelled images, without training."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.numerics import unit

from .knn import retrieve_labels
from .segmentation import IGNORED, confusion, enlarged_argmax


@torch.no_grad()
def retrieval_segmentation(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    classes: int,
    k: int = 30,
    temperature: float = 0.02,
    cells: int = 40,
    seed: int = 0,
    seen: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Predict the class of each cell by votes of the nearest cells in a memory (Balazevic et al.,
    Hummingbird, 2023, section 3). The temperature is 0.02 there and 0.07 in DIP (Sirko-Galouchenko et al.,
    2025).

    The memory has some cells of each image, with the class frequencies of their pixels. The weight of a vote
    is exp(cosine / temperature). The class probabilities are enlarged bilinearly. The search is exact. The
    global random state is not touched.

    Args:
        train: (N, C, h, w) maps, of any floating type.
        train_labels: (N, H, W) uint8 or int64, 255 = ignored.
        test: (M, C, h, w).
        test_labels: (M, H, W).
        classes: K.
        k: number of cells that vote; all of the memory if it has fewer.
        temperature: temperature of the votes.
        cells: cells per image in the memory; cells without a labelled pixel are not used.
        seed: seed of the choice of cells.
        seen: called with the predictions, (B, H, W) int64 on the CPU, batch by batch in the images' order.

    Returns:
        (M, K, K) counts of pixels at full size, see :func:`~densecl.evaluation.segmentation.confusion`.

    Raises:
        ValueError: no pixel of the training images is labelled.
    """
    memory, votes = build_memory(train, train_labels, classes, cells, seed)
    found = []
    for maps, labels in zip(test.split(16), test_labels.split(16), strict=True):
        rows = maps.flatten(2).transpose(1, 2).flatten(0, 1).to(memory.device)  # (B, C, h, w) -> (B h w, C)
        shares = retrieve_labels(rows, memory, votes, min(k, len(memory)), temperature)
        shares = shares.unflatten(0, (len(maps), *maps.shape[2:])).permute(0, 3, 1, 2)
        predicted = enlarged_argmax(shares, labels.shape[1:]).cpu()
        if seen is not None:
            seen(predicted)
        found.append(confusion(predicted, labels.cpu(), classes))
    return torch.cat(found)


def build_memory(
    maps: Tensor, labels: Tensor, classes: int, cells: int = 40, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Unit features (R, C) float32 of some cells of each image, and their class frequencies (R, K).

    Cells with classes that are rare in the image are more likely to be chosen.
    """
    generator = torch.Generator().manual_seed(seed)
    features, votes = [], []
    for image, label in zip(maps, labels, strict=True):
        shares = class_frequencies(label[None], classes, maps.shape[2:])[0].flatten(1).T  # (h w, K)
        rows = _rare_first(shares, generator)[:cells]
        features.append(image.flatten(1).T[rows.to(image.device)])
        votes.append(shares[rows])
    memory = unit(torch.cat(features))
    if not len(memory):
        raise ValueError('retrieval needs labelled pixels in the training images; all of them are ignored')
    return memory, torch.cat(votes).to(memory.device)


def _rare_first(shares: Tensor, generator: torch.Generator) -> Tensor:
    """Rows of (n, K) class frequencies that have a label, in a random order that prefers rare classes.

    As in Hummingbird's published code, rows are sorted by a uniform random number times the number of cells
    that have the cell's classes.
    """
    present = (shares > 0).float()
    score = (present @ present.sum(0)) * torch.rand(len(shares), generator=generator)
    order = score.argsort()
    return order[present.any(1)[order]]


def class_frequencies(labels: Tensor, classes: int, grid: tuple[int, int]) -> Tensor:
    """Shares of the classes among the labelled pixels of each cell.

    Args:
        labels: (N, H, W), 255 = ignored.
        classes: K.
        grid: h, w.

    Returns:
        (N, K, h, w) float32; the sum over K is 1, or 0 if every pixel of a cell is ignored.
    """
    counted = F.one_hot(labels.long().where(labels != IGNORED, classes), classes + 1)[..., :-1]
    shares = F.adaptive_avg_pool2d(counted.permute(0, 3, 1, 2).float(), tuple(grid))
    return shares / shares.sum(1, keepdim=True).clamp(min=1e-12)
