"""The cosine of vectors and of cells: what BYOL, SimSiam and PixPro minimise."""

from torch import Tensor

from densecl.structures import Comparison

from ..cosine import Cosine


def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean negative cosine similarity (SimSiam, Chen and He, 2021, eq. 1); BYOL's loss is 2 + 2 times it.

    (N, C) each; nothing is detached: stopping the target's gradient is its caller's work.
    """
    return Cosine().score(Comparison.of_rows(prediction, target))[0]


def pixel_consistency(online: Tensor, target: Tensor, positives: Tensor) -> Tensor:
    """Minus the mean cosine of an image's positive pairs, mean over images (PixPro, Xie et al., 2021, eq. 5).

    (B, C, N) and (B, C, M) maps, normalised here, and bool (B, N, M). Images without a positive pair count 0,
    as in the official code, which returns twice this value.
    """
    cells = online.transpose(1, 2), target.transpose(1, 2)
    return Cosine(mean='images').score(Comparison.of_sets(*cells, positives))[0]
