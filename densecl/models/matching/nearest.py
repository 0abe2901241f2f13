"""The most similar unit of the other view (DenseCL, Wang et al., 2021), or the nearest one (VICRegL)."""

import torch
from torch import Tensor

from densecl.numerics import full_precision, no_autocast, unit
from densecl.registry import MODELS
from densecl.structures import Match, Units

from .rule import Rule, among_shown, among_valid


@no_autocast
def most_similar(query: Tensor, key: Tensor, valid: Tensor | None = None) -> Tensor:
    """For each vector of ``query`` (B, N, C) the most similar valid of ``key`` (B, M, C): (B, N) int64."""
    # The query is not normalised: its norm scales a whole row and cannot change the argmax.
    similarity = full_precision(query) @ unit(key).mT
    return (similarity if valid is None else similarity.masked_fill(~valid[:, None], -torch.inf)).argmax(-1)


@torch.no_grad()
def match_by_similarity(query_map: Tensor, key_map: Tensor) -> Tensor:
    """For each cell of one map, the cell of the other with the largest cosine similarity.

    Args:
        query_map: (B, C, Hq, Wq).
        key_map: (B, C, Hk, Wk), of the same width C.

    Returns:
        (B, Hq*Wq) int64, indices of the Hk*Wk cells in row-major order; several cells may have one match.
    """
    if query_map.shape[:2] != key_map.shape[:2]:
        raise ValueError(
            'match_by_similarity: maps need the same batch and channels, '
            f'got {tuple(query_map.shape)} and {tuple(key_map.shape)}'
        )
    return most_similar(*(x.flatten(2).transpose(1, 2) for x in (query_map, key_map)))


@MODELS.register_module()
class MostSimilar(Rule):
    """The most similar key unit answers, by cosine of ``'features'`` of the backbone (DenseCL, Wang et al.,
    2021, section 3.3) or of ``'projections'``."""

    one_answer = True

    def __init__(self, of: str = 'features') -> None:
        super().__init__()
        self.compare(of)

    def forward(self, query, key, batch):
        index = most_similar(getattr(query, self.compared), getattr(key, self.compared), key.valid)
        valid = query.valid
        if key.valid is not None:
            answered = key.valid.any(1, keepdim=True).expand_as(index)
            valid = answered if valid is None else valid & answered
        return Match(index, valid=valid)


def nearest_pairs(distance: Tensor, top: int | None = None) -> tuple[Tensor, Tensor]:
    """Pair every cell with its nearest candidate, and keep the closest pairs (VICRegL, Bardes et al., 2022).

    Args:
        distance: (B, N, M), from N cells to M candidates.
        top: number of pairs to keep of an image; all N if it is None or larger.

    Returns:
        Two int64 tensors (B, G): cells in ascending order, each at most once, and the candidate of each.
    """
    smallest, nearest = distance.min(-1)
    count = distance.shape[1] if top is None else min(top, distance.shape[1])
    chosen = smallest.topk(count, largest=False, sorted=False).indices.sort().values
    return chosen, nearest.gather(1, chosen)


class _Nearest(Rule):
    """Base class: pairs by ``distance(query, key)``, (B, N, M). Kept pairs become the rows of both sides."""

    one_answer, reads, combines = True, True, False
    #: Whether the distance is between places in the image.
    located = False

    def __init__(self, top: int | None) -> None:
        super().__init__()
        if top is not None and top < 1:
            raise ValueError(f'{type(self).__name__}: top must be at least 1, or None for all, got {top}')
        self.top = top

    def forward(self, query, key, batch):
        distance, valid = self.distance(query, key), None
        warped = self.located and (query.place.warp is not None or key.place.warp is not None)
        if query.valid is not None or key.valid is not None or warped:
            there = among_valid(torch.ones_like(distance, dtype=torch.bool), query, key)
            there = among_shown(there, query.place, key.place) if warped else there
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
        top: number of pairs kept of an image. None keeps every cell, as in the official code (paper: 20).
        of: ``'projections'``, or ``'features'`` of the backbone.
    """

    def __init__(self, top: int | None = None, of: str = 'projections') -> None:
        super().__init__(top)
        self.compare(of)

    def distance(self, query: Units, key: Units) -> Tensor:
        rows = [full_precision(getattr(units, self.compared)) for units in (query, key)]
        return no_autocast(torch.cdist)(*rows)


@MODELS.register_module()
class NearestLocation(_Nearest):
    """Pairs by distance in the original image, in pixels (VICRegL).

    If the crops do not overlap, the closest pairs are still kept, as in the official code.

    Args:
        top: number of pairs kept of an image; 20 of 49 cells in the paper.
        ignore_flips: treat every view as not mirrored. This is the official code's default. It pairs the
            cells of a mirrored view with the wrong side, so use it for comparisons only.
    """

    needs = frozenset({'place'})
    located = True

    def __init__(self, top: int | None = 20, ignore_flips: bool = False) -> None:
        super().__init__(top)
        self.ignore_flips = ignore_flips

    def distance(self, query: Units, key: Units) -> Tensor:
        first, second = (
            place.centers(torch.zeros_like(place.flipped) if self.ignore_flips else None)
            for place in (query.place, key.place)
        )
        return (first[:, :, None] - second[:, None]).square().sum(-1).sqrt()
