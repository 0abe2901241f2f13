"""The uncertainty of a difference of two segmentations, by a bootstrap over the test images."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .segmentation import class_iou


@dataclass(frozen=True)
class Bootstrapped:
    """A difference and its uncertainty from the choice of test images.

    Attributes:
        mean: the difference on the original images.
        error: its standard error, infinite for a single group.
        groups: number of groups G; an interval uses Student's t with G - 1 degrees of freedom.
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
    """mIoU of ``two`` minus mIoU of ``one`` on the same test images, with a bootstrap over the images.

    Each draw takes G groups with replacement out of G groups, the same for both. The mIoU of a draw leaves
    out the classes that do not occur in its truth. Frames of one film are similar: give them the same group,
    so that they are drawn together (cluster bootstrap). The standard error is the standard deviation of the
    draws times sqrt(G / (G - 1)); for a mean of G values this gives the usual standard error.

    Args:
        one, two: (M, 3, K) of :func:`~densecl.evaluation.segmentation.iou_counts`, one tensor per seed; the
            difference is averaged over the seeds.
        groups: group of each of the M images; by default each image is its own group.
        draws: number of bootstrap draws.
        seed: seed of the draws.

    Raises:
        ValueError: the numbers of images or of seeds differ.
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
    times = resampled(len(names), draws, seed)[:, group]

    def means(runs: Sequence[Tensor]) -> Tensor:
        sums = [(times @ run.double().flatten(1)).unflatten(1, run.shape[1:]) for run in runs]
        return torch.stack([class_iou(each).nanmean(-1) for each in sums]).mean(0)

    found, count = means(two) - means(one), len(names)
    spread = found[1:][~found[1:].isnan()].std(correction=0).item()
    error = math.sqrt(count / (count - 1)) * spread if count > 1 else math.inf
    return Bootstrapped(found[0].item(), error, count)


def resampled(count: int, draws: int, seed: int) -> Tensor:
    """How often each of ``count`` items is in each sample, (1 + draws, count) float64.

    The first sample has each item once; the others are drawn with replacement.
    """
    drawn = torch.randint(count, (draws, count), generator=torch.Generator().manual_seed(seed))
    times = torch.zeros(draws, count, dtype=torch.float64)
    times.scatter_add_(1, drawn, torch.ones_like(times))
    return torch.cat([torch.ones(1, count, dtype=torch.float64), times])
