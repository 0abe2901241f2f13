"""f-MICL: mutual information by any f-divergence, with a Gaussian kernel as the density ratio."""

import torch
from torch import Tensor

from densecl.distributed import world_size
from densecl.messages import check_choice
from densecl.numerics import unit
from densecl.registry import MODELS
from densecl.structures import Comparison

from .candidates import Scores
from .objective import Objective, mean_of, own_mean
from .sources import batch_candidates

# Name -> f'(u), and f*(f'(u)) = u f'(u) - f(u), where f* is the convex conjugate of f. The functions take
# log u <= 0.
DIVERGENCES = {
    'kl': (lambda log: log + 1, torch.exp),
    'pearson': (lambda log: 2 * log.expm1(), lambda log: (2 * log).expm1()),
    'jensen-shannon': (
        lambda log: torch.nn.functional.logsigmoid(log) + torch.log(torch.full_like(log, 2)),
        lambda log: log.exp().log1p() - torch.log(torch.full_like(log, 2)),
    ),
    'squared-hellinger': (lambda log: -(-log / 2).expm1(), lambda log: (log / 2).expm1()),
    'vincze-le-cam': (
        lambda log: 1 - 4 / (log.exp() + 1).square(),
        lambda log: 3 - 8 / (log.exp() + 1) + 4 / (log.exp() + 1).square(),
    ),
}


@MODELS.register_module()
class FMutualInformation(Objective):
    """f' pulls a unit to its answer, and f* pushes it from other images (f-MICL, Lu et al., 2023, eq. 4).

    ``mean of f*(f'(G)) over the negatives - f'(G) of the answer``, with
    ``G = exp(-|x - y|^2 / (2 sigma^2))`` of unit vectors. The negatives are the pooled keys of the other
    images of all processes. With ``divergence='kl'`` it is the squared distance of the answers (alignment)
    plus a mean of Gaussian potentials (uniformity).

    Args:
        divergence: ``'kl'``, ``'pearson'`` (chi squared), ``'jensen-shannon'``, ``'squared-hellinger'`` or
            ``'vincze-le-cam'``.
        sigma: width of the kernel, 0.12 or more; for less, the kernel of opposite vectors is too small for
            float32.
        weight: factor of the negatives' term.

    Raises:
        ValueError: an unknown divergence, a width below 0.12, or only one image in all processes' batch.
    """

    needs = frozenset({'one answer', 'pooled'})

    def __init__(self, divergence: str = 'kl', sigma: float = 0.5, weight: float = 1.0) -> None:
        super().__init__()
        check_choice('FMutualInformation: divergence', divergence, DIVERGENCES)
        if not sigma >= 0.12:
            raise ValueError(f'FMutualInformation: sigma must be 0.12 or more, got {sigma!r}')
        self.divergence, self.sigma, self.weight = divergence, sigma, weight

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss; its two parts ``alignment`` and ``uniformity``; and ``pos_sim``, the answers' cosine."""
        match, key = comparison.match, comparison.key
        if len(key.vectors) * world_size() < 2:
            raise ValueError(
                'FMutualInformation: other images repel, and the batch has one; raise '
                'train_dataloader.batch_size'
            )
        of_answer, of_others = DIVERGENCES[self.divergence]
        with torch.autocast(key.vectors.device.type, enabled=False):
            query, keys = unit(comparison.query.compared), unit(key.vectors)
            positive, rows = (query * match.sum_of(keys)).sum(-1), query.flatten(0, 1)
            candidates = batch_candidates(comparison, rows, keys, 'keys')
            scores = Scores(rows, positive.flatten(), candidates, None, comparison)
            repelled = scores.sum_of(lambda cosines: of_others(self._log_kernel(cosines)))
            repelled = (repelled / candidates.count(rows).clamp(min=1)).view_as(positive)
            drawn, found = -of_answer(self._log_kernel(positive)), match.found()
            loss = mean_of(drawn + self.weight * repelled, found, 'counted')
        named = dict(alignment=drawn, uniformity=repelled, pos_sim=positive)
        return loss, {name: own_mean(x.detach(), found) for name, x in named.items()}

    def _log_kernel(self, cosines: Tensor) -> Tensor:
        """log G of cosines, as ``|x - y|^2 = 2 - 2 cos``."""
        return (cosines - 1) / self.sigma**2
