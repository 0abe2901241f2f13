"""The positive of a cell is the most similar cell of the other view (DenseCL, Wang et al., 2021, 3.3)."""

import torch
from torch import Tensor, nn

from densecl.registry import MODELS

from .maps import ViewMaps


def _rows(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H*W, C) in float32 (or float64); a view where memory is channels-last."""
    maps = maps.detach().permute(0, 2, 3, 1).flatten(1, 2)
    return maps if maps.dtype == torch.float64 else maps.float()


@torch.no_grad()
def match_by_similarity(query_map: Tensor, key_map: Tensor) -> Tensor:
    """For each cell of one map, the cell of the other with the largest cosine similarity.

    Args:
        query_map: (B, C, Hq, Wq).
        key_map: (B, C, Hk, Wk), of the same width C.

    Returns:
        (B, Hq*Wq) int64, indices into the Hk*Wk cells in row-major order. One-to-one from the query's
        side only: several cells may share a match.
    """
    if query_map.shape[:2] != key_map.shape[:2]:
        raise ValueError(
            'match_by_similarity: maps need the same batch and channels, '
            f'got {tuple(query_map.shape)} and {tuple(key_map.shape)}'
        )
    with torch.autocast(query_map.device.type, enabled=False):
        # The query's norm scales a whole row of similarities and cannot change its argmax.
        key = torch.nn.functional.normalize(_rows(key_map), dim=-1)
        return (_rows(query_map) @ key.transpose(1, 2)).argmax(-1)


@MODELS.register_module()
class MostSimilar(nn.Module):
    """Match by similarity of ``'features'`` (DenseCL: the backbone's) or of ``'projections'``."""

    def __init__(self, of: str = 'features') -> None:
        super().__init__()
        if of not in ('features', 'projections'):
            raise ValueError(f"MostSimilar: of must be 'features' or 'projections', got {of!r}")
        self.of = of

    def forward(self, query: ViewMaps, key: ViewMaps) -> Tensor:
        """Indices (B, Hq*Wq) of the matched key cells."""
        return match_by_similarity(getattr(query, self.of), getattr(key, self.of))
