"""The same object in both views: boxes, masks, slots."""

import torch

from densecl.numerics import full_precision
from densecl.registry import MODELS
from densecl.structures import Match

from .overlap import overlap_boxes
from .rule import Rule, among_valid


@MODELS.register_module()
class SameId(Rule):
    """All units of the key view with the query's id; an id may be there several times, or in one view only.

    Args:
        share_repeats: a unit whose id its view holds n times counts 1 / n (DetCon, Hénaff et al., 2021).
        overlap: images whose views do not overlap are left out (SlotCon, Wen et al., 2022).
    """

    needs = frozenset({'ids'})

    def __init__(self, share_repeats: bool = False, overlap: bool = False) -> None:
        super().__init__()
        self.share_repeats = share_repeats
        self.overlap = overlap

    @torch.no_grad()
    def forward(self, query, key, batch):
        """See :class:`Rule`."""
        same = query.ids[:, :, None] == key.ids[:, None]
        mask = among_valid(same & (query.ids >= 0)[:, :, None], query, key)
        if self.overlap:
            mask = mask & overlap_boxes(query.place.crop, key.place.crop)[1][:, None, None]
        weight = None
        if self.share_repeats:
            repeats = (query.ids[:, :, None] == query.ids[:, None]).sum(2)
            weight = repeats.to(full_precision(query.vectors).dtype).reciprocal()
        return Match(mask=mask, weight=weight)
