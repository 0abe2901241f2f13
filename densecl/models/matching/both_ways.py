"""Each cell and its nearest cell of the other view, by feature or by place: the closest pairs (VICRegL)."""

import torch
from torch import Tensor, nn

from densecl.registry import MODELS
from densecl.structures import cell_centers

from .maps import ViewMaps


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


class _Nearest(nn.Module):
    """Shared by the rules of this file; see :class:`NearestFeature` and :class:`NearestLocation`."""

    def __init__(self, top: int | None) -> None:
        super().__init__()
        if top is not None and top < 1:
            raise ValueError(f'{type(self).__name__}: top must be at least 1, or None for all, got {top}')
        self.top = top

    def distance(self, query: ViewMaps, key: ViewMaps) -> Tensor:
        """(B, Nq, Nk)."""
        raise NotImplementedError

    @torch.no_grad()
    def pairs(self, query: ViewMaps, key: ViewMaps) -> tuple[Tensor, Tensor]:
        """Query cells and the key cell of each, int64 (B, G) both, with the same G for all images."""
        return nearest_pairs(self.distance(query, key), self.top)

    @torch.no_grad()
    def forward(self, query: ViewMaps, key: ViewMaps) -> Tensor:
        """The same pairs as bool (B, Nq, Nk)."""
        chosen, matched = self.pairs(query, key)
        cells, candidates = query.projections[0, 0].numel(), key.projections[0, 0].numel()
        mask = torch.zeros(len(chosen), cells, candidates, dtype=torch.bool, device=chosen.device)
        mask[torch.arange(len(chosen), device=chosen.device)[:, None], chosen, matched] = True
        return mask


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

    def distance(self, query: ViewMaps, key: ViewMaps) -> Tensor:
        """Of vectors, (B, Nq, Nk)."""
        rows = [getattr(view, self.of).flatten(2).transpose(1, 2) for view in (query, key)]
        rows = [x if x.dtype == torch.float64 else x.float() for x in rows]
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

    def __init__(self, top: int | None = 20, ignore_flips: bool = False) -> None:
        super().__init__(top)
        self.ignore_flips = ignore_flips

    def distance(self, query: ViewMaps, key: ViewMaps) -> Tensor:
        """Of centres, (B, Nq, Nk)."""
        first, second = (self._centres(view) for view in (query, key))
        return (first[:, :, None] - second[:, None]).square().sum(-1).sqrt()

    def _centres(self, view: ViewMaps) -> Tensor:
        flipped = torch.zeros_like(view.flipped) if self.ignore_flips else view.flipped
        return cell_centers(view.boxes, flipped, view.grid)
