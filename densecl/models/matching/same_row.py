"""Row i answers row i: the same image, the same box, the same window."""

import torch

from densecl.registry import MODELS
from densecl.structures import Match

from .rule import Rule, both_valid


@MODELS.register_module()
class SameRow(Rule):
    """Row i of one view answers row i of the other, where both are there. Of whole images: the same image."""

    one_answer = True

    @torch.no_grad()
    def forward(self, query, key, batch):
        """See :class:`Rule`."""
        (images, count), other = query.vectors.shape[:2], key.vectors.shape[1]
        if count != other:
            raise ValueError(
                f'SameRow: {count} units of the query view cannot answer {other} of the key view row by row; '
                'take matching=MostSimilar, ByLocation or SameId'
            )
        index = torch.arange(count, device=query.vectors.device).expand(images, -1)
        return Match(index, valid=both_valid(query, key))
