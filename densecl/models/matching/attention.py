"""The positives of a salient cell are the salient cells of the other view that look alike (SetSim)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.registry import MODELS

from .location import match_by_location
from .maps import ViewMaps


def _wide(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H*W) in float32, or float64."""
    maps = maps.detach().flatten(2)
    return maps if maps.dtype == torch.float64 else maps.float()


@torch.no_grad()
def attention(features: Tensor) -> Tensor:
    """How strongly each cell responds, 0 in the weakest and 1 in the strongest cell of an image.

    The mean of the squared channels, scaled to [0, 1] within the image (SetSim, Wang et al., 2022).

    Args:
        features: (B, C, H, W), of the backbone.

    Returns:
        (B, H*W); 0 everywhere for an image whose cells are all the same.
    """
    energy = _wide(features).square().mean(1)
    low, high = energy.amin(1, keepdim=True), energy.amax(1, keepdim=True)
    return (energy - low) / (high - low).clamp(min=torch.finfo(energy.dtype).tiny)


@torch.no_grad()
def cell_cosines(query_map: Tensor, key_map: Tensor) -> Tensor:
    """Cosines of all cells, (B, C, Hq, Wq) and (B, C, Hk, Wk) -> (B, Hq*Wq, Hk*Wk)."""
    with torch.autocast(query_map.device.type, enabled=False):
        query, key = (F.normalize(_wide(x), dim=1) for x in (query_map, key_map))
        return query.transpose(1, 2) @ key


@torch.no_grad()
def match_by_attention(
    query_map: Tensor, key_map: Tensor, threshold: float = 0.7, similarity: float = 0.2
) -> Tensor:
    """Pairs of cells that both stand out and that are alike.

    Args:
        query_map: (B, C, Hq, Wq), features of the backbone.
        key_map: (B, C, Hk, Wk).
        threshold: least attention of both cells.
        similarity: least cosine of their features.

    Returns:
        bool (B, Hq*Wq, Hk*Wk).
    """
    query, key = (attention(x) >= threshold for x in (query_map, key_map))
    return query[:, :, None] & key[:, None] & (cell_cosines(query_map, key_map) >= similarity)


@MODELS.register_module()
class SetSimilarity(nn.Module):
    """Salient cells that are alike, and cells that lie close in the image (SetSim, Wang et al., 2022).

    Args:
        attention: see :func:`match_by_attention`; None leaves this part out.
        similarity: likewise.
        location: threshold of :func:`~densecl.models.matching.match_by_location`, in the image scaled to
            1 x 1; None leaves this part out.
        nearest: a cell that has a positive also gets its most similar key cell.
    """

    def __init__(
        self,
        attention: float | None = 0.7,
        similarity: float = 0.2,
        location: float | None = 0.5,
        nearest: bool = False,
    ) -> None:
        super().__init__()
        if attention is None and location is None:
            raise ValueError('SetSimilarity: attention and location are both None, so nothing would match')
        self.attention = attention
        self.similarity = similarity
        self.location = location
        self.nearest = nearest

    @torch.no_grad()
    def forward(self, query: ViewMaps, key: ViewMaps) -> Tensor:
        """Positive pairs, bool (B, Hq*Wq, Hk*Wk)."""
        cells, candidates = (view.features[0, 0].numel() for view in (query, key))
        found = torch.zeros(
            len(query.features), cells, candidates, dtype=torch.bool, device=query.features.device
        )
        if self.attention is not None:
            found |= match_by_attention(query.features, key.features, self.attention, self.similarity)
        if self.location is not None:
            found |= match_by_location(
                query.shares(), query.flipped, query.grid,
                key.shares(), key.flipped, key.grid, self.location,
            )  # fmt: skip
        if self.nearest:
            best = cell_cosines(query.features, key.features).argmax(-1)
            found |= F.one_hot(best, candidates).bool() & found.any(-1, keepdim=True)
        return found
