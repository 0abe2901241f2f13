"""The answer of a unit is the most similar unit of the other view (DenseCL, Wang et al., 2021, 3.3)."""

import torch
from torch import Tensor

from densecl.numerics import full_precision
from densecl.registry import MODELS
from densecl.structures import Match

from .rule import Rule


def most_similar(query: Tensor, key: Tensor, valid: Tensor | None = None) -> Tensor:
    """For each of (B, N, C) vectors the one of (B, M, C), of those ``valid`` (B, M), with the largest cosine.

    Returns:
        (B, N) int64.
    """
    with torch.autocast(query.device.type, enabled=False):
        # The query's norm scales a whole row of similarities and cannot change its argmax.
        key = torch.nn.functional.normalize(full_precision(key), dim=-1)
        cosines = full_precision(query) @ key.transpose(1, 2)
        if valid is not None:
            cosines = cosines.masked_fill(~valid[:, None], -torch.inf)
        return cosines.argmax(-1)


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
    rows = (x.permute(0, 2, 3, 1).flatten(1, 2) for x in (query_map, key_map))
    return most_similar(*rows)


@MODELS.register_module()
class MostSimilar(Rule):
    """Match by similarity of ``'features'`` (DenseCL: the backbone's) or of ``'projections'``."""

    one_answer = True

    def __init__(self, of: str = 'features') -> None:
        super().__init__()
        if of not in ('features', 'projections'):
            raise ValueError(f"MostSimilar: of must be 'features' or 'projections', got {of!r}")
        self.of = of
        self.needs = frozenset({'features'} if of == 'features' else ())

    @torch.no_grad()
    def forward(self, query, key, batch):
        """See :class:`Rule`."""
        name = 'features' if self.of == 'features' else 'vectors'
        index = most_similar(getattr(query, name), getattr(key, name), key.valid)
        valid = query.valid
        if key.valid is not None:
            answered = key.valid.any(1, keepdim=True).expand_as(index)
            valid = answered if valid is None else valid & answered
        return Match(index, valid=valid)
