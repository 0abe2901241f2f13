"""Which pixels of a labelled batch become anchors."""

import torch
from torch import Tensor

from densecl.distributed import all_gather, all_reduce, gather, world_size
from densecl.models.memory.regions import number_among_equals


def quotas(counts: Tensor, views: int) -> Tensor:
    """How many easy and hard pixels to take: half of each, and more of one where the other falls short.

    Args:
        counts: (G, 2), easy and hard pixels that each group has.
        views: how many to take of a group, or all where it has fewer.

    Returns:
        (G, 2). An odd number has one easy pixel more.
    """
    easy, hard = counts.unbind(1)
    wanted = (easy + hard).clamp(max=views)
    from_hard = torch.minimum(torch.maximum(wanted // 2, wanted - easy), hard)
    return torch.stack([wanted - from_hard, from_hard], 1)


@torch.no_grad()
def sample_anchors(
    labels: Tensor,
    wrong: Tensor,
    num_classes: int,
    max_views: int,
    max_anchors: int,
    min_pixels: int,
) -> Tensor:
    """Draw as many pixels of each class of each image, half of them hard (Wang et al., ICCV 2021).

    Of each (image, class) with enough pixels ``max_anchors // number of (image, class)`` are drawn, at
    least 1 and at most ``max_views``. Both figures are those of all processes together.

    Args:
        labels: (B, N) class of each pixel, -1 where it has none.
        wrong: (B, N) bool, true for hard pixels: those predicted wrongly.
        num_classes: number of classes.
        max_views: most pixels of one class in one image.
        max_anchors: pixels of all classes and images, times the number of processes.
        min_pixels: a class with fewer pixels in an image has no anchors there.

    Returns:
        (A,) positions in the flattened (B N), random within a class and group.
    """
    groups = len(labels) * num_classes
    places = (labels.flatten() >= 0).nonzero()[:, 0]
    places = places[torch.randperm(len(places), device=places.device)]
    region = places // labels.shape[1] * num_classes + labels.flatten()[places]
    kind = 2 * region + wrong.flatten()[places]
    counts = torch.bincount(kind, minlength=2 * groups).view(groups, 2)
    taken = counts.sum(1) >= min_pixels
    regions = int(all_reduce(taken.sum()))
    views = max(max_anchors * world_size() // max(regions, 1), 1)
    quota = quotas(counts, min(views, max_views)) * taken[:, None]
    return places[number_among_equals(kind) < quota.flatten()[kind]]


def gather_rows(rows: Tensor) -> Tensor:
    """:func:`densecl.distributed.gather` where every process may have another number of rows, or none."""
    if world_size() == 1:
        return rows
    counts = all_gather(torch.tensor([len(rows)], device=rows.device))
    longest = int(counts.max())
    if not longest:
        return rows
    padding = rows.new_zeros(longest - len(rows), *rows.shape[1:])
    real = torch.arange(longest, device=rows.device) < counts[:, None]
    return gather(torch.cat([rows, padding]))[real.flatten()]
