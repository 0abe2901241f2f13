"""Each unit and its nearest unit of the other view, by feature or by place: the closest pairs (VICRegL)."""

import torch
from torch import Tensor

from densecl.numerics import full_precision
from densecl.registry import MODELS
from densecl.structures import Match, Units

from .rule import Rule, among_valid


def nearest_pairs(distance: Tensor, top: int | None = None) -> tuple[Tensor, Tensor]:
    """The nearest candidate of every cell, and of these pairs the closest (VICRegL, Bardes et al., 2022).

    Args:
        distance: (B, N, M), of N cells to M candidates.
        top: how many pairs to keep of an image; all N where it is None or larger.

    Returns:
        Two int64 (B, G) tensors: cells in rising order, each at most once, and the candidate of each.
    """
    smallest, nearest = distance.min(-1)
    count = distance.shape[1] if top is None else min(top, distance.shape[1])
    chosen = smallest.topk(count, largest=False, sorted=False).indices.sort().values
    return chosen, nearest.gather(1, chosen)


class _Nearest(Rule):
    """Shared by the rules of this file; see :class:`NearestFeature` and :class:`NearestLocation`."""

    one_answer = True

    def __init__(self, top: int | None) -> None:
        super().__init__()
        if top is not None and top < 1:
            raise ValueError(f'{type(self).__name__}: top must be at least 1, or None for all, got {top}')
        self.top = top

    def distance(self, query: Units, key: Units) -> Tensor:
        """(B, N, M)."""
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, query, key, batch):
        """See :class:`Rule`. The pairs that are kept become the rows of both sides."""
        distance, valid = self.distance(query, key), None
        if query.valid is not None or key.valid is not None:
            there = among_valid(torch.ones_like(distance, dtype=torch.bool), query, key)
            distance = distance.masked_fill(~there, torch.inf)
            valid = there.any(2)
        chosen, matched = nearest_pairs(distance, self.top)
        valid = None if valid is None else valid.gather(1, chosen)
        rows = torch.arange(chosen.shape[1], device=chosen.device).expand_as(chosen)
        return Match(rows, valid=valid, read=lambda q, k: (q.take(chosen), k.take(matched)))


@MODELS.register_module()
class NearestFeature(_Nearest):
    """Pairs by Euclidean distance of the projections, which are not normalised (VICRegL).

    Args:
        top: pairs kept of an image; None, as the official code has it, keeps every cell (the paper: 20).
        of: ``'projections'``, or ``'features'`` of the backbone.
    """

    def __init__(self, top: int | None = None, of: str = 'projections') -> None:
        super().__init__(top)
        if of not in ('features', 'projections'):
            raise ValueError(f"NearestFeature: of must be 'features' or 'projections', got {of!r}")
        self.of = of
        self.needs = frozenset({'features'} if of == 'features' else ())

    def distance(self, query, key):
        """Of vectors, (B, N, M)."""
        name = 'features' if self.of == 'features' else 'vectors'
        rows = [full_precision(getattr(units, name)) for units in (query, key)]
        with torch.autocast(rows[0].device.type, enabled=False):
            return torch.cdist(*rows)


@MODELS.register_module()
class NearestLocation(_Nearest):
    """Pairs by distance in the original image, in pixels (VICRegL).

    Pairs are kept also where the crops do not overlap, as in the official code: the closest there are.

    Args:
        top: pairs kept of an image; 20 of 49 cells in the paper.
        ignore_flips: take every view as not mirrored. The official code's default, which pairs a mirrored
            view's cells with the wrong side; for comparisons only.
    """

    needs = frozenset({'place'})

    def __init__(self, top: int | None = 20, ignore_flips: bool = False) -> None:
        super().__init__(top)
        self.ignore_flips = ignore_flips

    def distance(self, query, key):
        """Of centres, (B, N, M)."""
        first, second = (self._centres(units.place) for units in (query, key))
        return (first[:, :, None] - second[:, None]).square().sum(-1).sqrt()

    def _centres(self, place) -> Tensor:
        return place.centers(torch.zeros_like(place.flipped) if self.ignore_flips else None)
