"""Both views read on one grid over the part of the image that they share (SlotCon)."""

from dataclasses import replace

import torch
from torch import Tensor

from densecl.registry import MODELS
from densecl.structures import Match, Place, Units

from .overlap import overlap_boxes, sample_overlap
from .rule import Rule


@MODELS.register_module()
class SharedGrid(Rule):
    """The same place: what both views say of it is interpolated on a grid over their overlap.

    The grid has the query map's size. Images without overlap are left out.
    """

    needs = frozenset({'grid'})
    one_answer = True

    @torch.no_grad()
    def forward(self, query, key, batch):
        """See :class:`Rule`."""
        images, count = query.vectors.shape[:2]
        _, exists = overlap_boxes(query.place.crop, key.place.crop)
        index = torch.arange(count, device=exists.device).expand(images, -1)
        return Match(index, valid=exists[:, None].expand(-1, count), read=read_overlap)


def read_overlap(query: Units, key: Units) -> tuple[Units, Units]:
    """Both sets on the grid; vectors and predictions alone stay."""
    grid = query.place.grid
    return _read(query, key.place, grid), _read(key, query.place, grid)


def _read(units: Units, other: Place, grid: tuple[int, int]) -> Units:
    place = units.place

    def rows(vectors: Tensor) -> Tensor:
        maps = vectors.transpose(1, 2).unflatten(2, place.grid)
        read = sample_overlap(maps, place.crop, place.flipped, other.crop, grid)
        return read.flatten(2).transpose(1, 2)

    predicted = None if units.predicted is None else rows(units.predicted)
    bare = replace(units, valid=None, ids=None, place=None, features=None, embeddings=None)
    return replace(bare, vectors=rows(units.vectors), predicted=predicted)
