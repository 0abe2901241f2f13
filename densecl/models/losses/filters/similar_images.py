"""False negatives: candidates that are similar to any view of the query's image."""

import torch
from torch import Tensor

from densecl.numerics import unit
from densecl.registry import MODELS

from ..candidates import Candidates, Scores
from ..kernel import hardest_keys
from .base import Filter


@MODELS.register_module()
class SimilarImages(Filter):
    """The ``top`` candidates most similar to any view of the query's image (FNC, Huynh et al., 2022).

    The score of a candidate is its largest cosine with the views of the query's image. These are the query's
    and the key's ``Units.pooled``, and the head's ``support`` views (eight in the official code). A candidate
    is a false negative if its score is one of the ``top`` highest and above the threshold. Views of the same
    image in the present batch are never false negatives, but an older key of it in a queue may be one. As in
    the official code, several views of one image may be found, and each counts. The official code uses
    attraction. Its loss also has the support views as positives; here these are the head's ``pairs``.

    Args:
        top: largest number of false negatives of an image.
        threshold: smallest cosine, in [-1, 1].
        treatment: see :class:`.Filter`.
    """

    def __init__(self, top: int = 10, threshold: float = 0.7, treatment: str = 'elimination') -> None:
        super().__init__(treatment)
        if top < 1 or not -1 <= threshold <= 1:
            raise ValueError(
                f'SimilarImages: top must be at least 1 and threshold in [-1, 1], got {top} and {threshold}'
            )
        self.top, self.threshold = top, threshold

    @torch.no_grad()
    def rule(self, scores):
        found = self.search(own_views(scores), scores.candidates, scores.comparison.batch.numbers)
        found = scores.of_rows(found)
        return lambda columns, _: marked(found, columns)

    def search(self, views: list[Tensor], candidates: Candidates, numbers: Tensor) -> Tensor:
        """Columns of the false negatives of each image, (B, top'), -1 where there are fewer.

        ``numbers`` (B,) is the numbers of these images in the batch of all processes.
        """
        keys = (candidates.gathered() if candidates.ring else candidates).keys.detach()
        images, there = candidates.images, candidates.there

        def keep(columns: slice, cosines: Tensor) -> Tensor:
            kept = torch.ones_like(cosines, dtype=torch.bool)
            if images is not None:
                kept &= numbers[:, None] != images[columns]
            return kept if there is None else kept & (there[columns] != 0)

        top = min(self.top, len(candidates))
        # The candidates with the highest maximum over the views are among the highest of some view.
        each = [hardest_keys(view, keys, top, keep) for view in views]
        score, order = torch.cat([s for s, _ in each], 1).sort(1, descending=True)
        columns = torch.cat([c for _, c in each], 1).gather(1, order)
        known = (columns[:, :, None] == columns[:, None]).tril(-1).any(2)
        score, order = score.masked_fill(known, -torch.inf).topk(top, 1)
        return columns.gather(1, order).masked_fill(score <= self.threshold, -1)


def own_views(scores: Scores) -> list[Tensor]:
    """Unit vectors (B, C) for each available view of the queries' images."""
    c = scores.comparison
    views = [c.key.pooled, c.query.pooled_compared, *([] if c.support is None else c.support)]
    return [unit(view.detach()) for view in views]


def marked(found: Tensor, columns: slice) -> Tensor:
    """Which of the k columns of a slice are among the columns ``found`` (R, F): (R, k) bool."""
    width = columns.stop - columns.start
    place = found - columns.start
    place = place.masked_fill((place < 0) | (place >= width), width)
    mask = torch.zeros(len(found), width + 1, dtype=torch.bool, device=found.device)
    return mask.scatter_(1, place, True)[:, :width]
