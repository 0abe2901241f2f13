"""How sure a difference of two segmentations is, by drawing the test images again."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .segmentation import class_iou


@dataclass(frozen=True)
class Bootstrapped:
    """A difference and how it varies with the test images.

    Attributes:
        mean: of the images as they are.
        error: its standard error, infinite for a single group.
        groups: how many were drawn from; an interval takes Student's t of one less.
    """

    mean: float
    error: float
    groups: int


def miou_difference(
    one: Sequence[Tensor],
    two: Sequence[Tensor],
    groups: Sequence[Hashable] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Bootstrapped:
    """mIoU of ``two`` less that of ``one`` on the same test images, which are drawn with replacement.

    A draw takes as many groups as there are, the same for both; the mIoU of a draw leaves out the classes
    that its truth does not have. Frames of one film resemble each other: give them one group, and whole
    groups are drawn (cluster bootstrap). The standard error is the deviation of the draws times
    sqrt(G / (G - 1)) for G groups: that of a mean of G values would be the usual one.

    Args:
        one, two: (M, 3, K) of :func:`~densecl.evaluation.segmentation.iou_counts`, one tensor a seed; the
            difference is the mean over the seeds.
        groups: of the M images; by default each is its own.
        draws: of the bootstrap.
        seed: of the draws.

    Raises:
        ValueError: the two were not measured on equally many images, or with equally many seeds.
    """
    shapes = {tuple(x.shape) for x in (*one, *two)}
    if len(one) != len(two) or not one or len(shapes) != 1:
        raise ValueError(
            f'a difference needs the same seeds and images on both sides, got {len(one)} and {len(two)} '
            f'seeds with counts of {sorted(shapes)}'
        )
    images = len(one[0])
    if groups is not None and len(groups) != images:
        raise ValueError(f'{len(groups)} groups for {images} images')
    names = list(dict.fromkeys(range(images) if groups is None else groups))
    places = {name: number for number, name in enumerate(names)}
    group = torch.tensor([places[name] for name in (range(images) if groups is None else groups)])
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(names), (draws, len(names)), generator=generator)
    times = torch.zeros(draws, len(names), dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones(draws, len(names), dtype=torch.float64)
    )
    times = torch.cat([torch.ones(1, images, dtype=torch.float64), times[:, group]])  # the images as they are

    def means(runs: Sequence[Tensor]) -> Tensor:
        sums = [(times @ run.double().flatten(1)).unflatten(1, run.shape[1:]) for run in runs]
        return torch.stack([class_iou(each).nanmean(-1) for each in sums]).mean(0)

    found, count = means(two) - means(one), len(names)
    spread = found[1:][~found[1:].isnan()].std(correction=0).item()
    error = math.sqrt(count / (count - 1)) * spread if count > 1 else math.inf
    return Bootstrapped(found[0].item(), error, count)
