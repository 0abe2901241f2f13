"""The cosine loss: it pulls a unit to its answers and has no negatives."""

import torch
from torch import Tensor

from densecl.messages import check_choice
from densecl.numerics import unit
from densecl.registry import MODELS
from densecl.structures import Comparison

from .objective import MEANS, Objective, mean_of, own_mean


@MODELS.register_module()
class Cosine(Objective):
    """``-cos(prediction, key)``, mean over the answers of each unit (SimSiam, Chen and He, 2021, eq. 1).

    It collapses unless no gradient reaches the keys and the head has a predictor. Several papers *sum* both
    directions, but a head takes the mean of its pairs: put the factor into the head's ``loss_weight``.

    Args:
        squared: use ``|p - z|^2 = 2 - 2 cos`` of the unit vectors instead (BYOL, Grill et al., 2020, eq. 2).
        mean: ``'rows'``: over all units (BYOL, SimSiam). ``'counted'``: over the units of all processes that
            have an answer (SCRL, Roh et al., 2021, squared). ``'images'``: over the pairs of each image, then
            over images; an image without a pair adds 0 (PixPro, Xie et al., 2021, eq. 5; SoCo). The official
            code of PixPro divides by the number of pairs plus 1e-6.
    """

    weighs = True

    def __init__(self, squared: bool = False, mean: str = 'rows') -> None:
        super().__init__()
        self.squared = squared
        self.mean = check_choice('Cosine: mean', mean, MEANS)

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, in [-1, 1] or [0, 4], and ``pos_sim``, the mean cosine of the pairs that count."""
        match = comparison.match
        with torch.autocast(comparison.query.vectors.device.type, enabled=False):
            # The cosine is linear in the unit key: so sum the answers first, and keep no (B, N, M) cosines.
            cosine = (unit(comparison.query.compared) * match.sum_of(unit(comparison.key.vectors))).sum(-1)
        pairs = match.count()
        terms = torch.where(pairs > 0, 2 * pairs - 2 * cosine if self.squared else -cosine, 0.0)
        cosine = torch.where(pairs > 0, cosine.detach(), 0.0)
        if match.weight is not None:
            terms = terms * match.weight
        if self.mean == 'images':
            terms, cosine, pairs = (x.sum(1, keepdim=True) for x in (terms, cosine, pairs))
        loss = mean_of(terms / pairs.clamp(min=1), pairs > 0, self.mean)
        return loss, {'pos_sim': own_mean(cosine / pairs.clamp(min=1), pairs > 0)}
