"""Functions that selectors of regions share: boxes in a view, and checks of the input."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from densecl.structures import Proposals, ViewRegions, boxes_to_view

from .drawn import DrawnView

WHOLE_IMAGE = 2**31 - 1
"""The id of the object that is the whole image, where there is no better one."""


class ChosenViews(NamedTuple):
    """Output of a selector that draws the views.

    Attributes:
        views: V views.
        regions: V entries, the regions in each view.
        cutouts: V entries, each (C, 4) boxes in view pixels or None; or None.
    """

    views: list[DrawnView]
    regions: list[ViewRegions | None]
    cutouts: list[Tensor | None] | None = None


def proposals_of(results: dict, transform: str) -> Proposals:
    """The proposals that the data set put into ``results``."""
    if isinstance(results.get('proposals'), Proposals):
        return results['proposals']
    raise ValueError(
        f"{transform} needs results['proposals'] as Proposals, got "
        f'{type(results.get("proposals")).__name__}; name their provider in '
        'PretrainDataset(proposals=dict(type=...))'
    )


def check_views(option: str, named: Iterable[int], count: int) -> None:
    """Raise a ValueError if ``option`` names a view that is not among the ``count`` there are."""
    if any(not 0 <= v < count for v in named):
        raise ValueError(f'{option}={tuple(named)}, but the views are 0 .. {count - 1}')


def place(boxes: Tensor, view: DrawnView) -> tuple[Tensor, Tensor]:
    """Map boxes (P, 4) of the decoded image into a view; see :func:`densecl.structures.boxes_to_view`."""
    crop = torch.tensor(view.box, dtype=boxes.dtype)
    return boxes_to_view(boxes, crop, view.flipped, view.size, view.warp)


def whole_view(view: DrawnView, count: int) -> Tensor:
    """(count, 4) float32, ``count`` times the box of the whole view."""
    height, width = view.size
    return torch.tensor([[0.0, 0.0, width, height]]).repeat(count, 1)
