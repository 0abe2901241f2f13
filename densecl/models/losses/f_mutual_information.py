"""f-MICL: mutual information by any f-divergence, with a Gaussian kernel for the ratio of densities."""

import torch
from torch import Tensor

from densecl.distributed import gather, world_size
from densecl.numerics import full_precision, no_autocast, unit
from densecl.registry import MODELS
from densecl.structures import Comparison

from .objective import Objective, mean_of, own_mean

# Name -> f'(u), and f*(f'(u)) = u f'(u) - f(u), f* being the convex conjugate of f; both of log u <= 0.
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


@no_autocast
def f_mutual_information(positive: Tensor, negatives: Tensor, divergence: str, sigma: float) -> Tensor:
    """``E f*(f'(G)) over the negatives - f'(G) of the positive``, ``G = exp(-|x - y|^2 / (2 sigma^2))``.

    Args:
        positive: (R,) cosines of R queries with their answers; vectors are of length 1, so that
            ``|x - y|^2 = 2 - 2 cos``.
        negatives: (R, K) cosines with K others, of which those that are -inf do not count.
        divergence: one of :data:`DIVERGENCES`.
        sigma: width of the kernel, > 0.

    Returns:
        (R,) float32 or better, the expectation's term and minus the answer's, in two columns (R, 2).
    """
    of_answer, of_others = DIVERGENCES[divergence]
    count = negatives.isfinite()
    logs = (torch.where(count, full_precision(negatives), 0.0) - 1) / sigma**2
    mean = torch.where(count, of_others(logs), 0.0).sum(1) / count.sum(1).clamp(min=1)
    return torch.stack([mean, -of_answer((full_precision(positive) - 1) / sigma**2)], 1)


@MODELS.register_module()
class FMutualInformation(Objective):
    """Answers attract by f', units of other images repel by its conjugate (f-MICL, Lu et al., 2023, eq. 4).

    The negatives are the key side's units of the other images of all processes; of one with itself there
    is none. With ``divergence='kl'`` it is a squared distance of the answers and a mean of Gaussian
    potentials: alignment and uniformity.

    Args:
        divergence: ``'kl'``, ``'pearson'`` (chi squared), ``'jensen-shannon'``, ``'squared-hellinger'`` or
            ``'vincze-le-cam'``.
        sigma: width of the Gaussian kernel on unit vectors.
        weight: factor of the negatives' term.

    Raises:
        ValueError: an unknown divergence, a width that is not above 0, or a batch of one image in all.
    """

    needs = frozenset({'one answer'})

    def __init__(self, divergence: str = 'kl', sigma: float = 0.5, weight: float = 1.0) -> None:
        super().__init__()
        if divergence not in DIVERGENCES:
            known = ', '.join(map(repr, DIVERGENCES))
            raise ValueError(f'FMutualInformation: divergence must be one of {known}; got {divergence!r}')
        if not sigma > 0:
            raise ValueError(f'FMutualInformation: sigma must be above 0, got {sigma!r}')
        self.divergence, self.sigma, self.weight = divergence, sigma, weight

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, ``alignment`` and ``uniformity``, its two parts, and ``pos_sim``."""
        match, key = comparison.match, comparison.key
        if len(key.vectors) * world_size() < 2:
            raise ValueError(
                'FMutualInformation: the units of other images repel, and the batch has one image; raise '
                'train_dataloader.batch_size'
            )
        with torch.autocast(key.vectors.device.type, enabled=False):
            query, keys = unit(comparison.query.compared), unit(key.vectors)
            positive = (query * match.sum_of(keys)).sum(-1)
            there = torch.ones(keys.shape[:2], dtype=torch.bool, device=keys.device)
            there = there if key.valid is None else key.valid
            every, counts = gather(keys), gather(there.to(keys.dtype)) > 0
            numbers = comparison.batch.of_all().numbers
            counts = counts[None] & (comparison.batch.numbers[:, None] != numbers)[..., None]
            cosines = torch.einsum('bnd,amd->bnam', query, every)
            cosines = cosines.masked_fill(~counts[:, None], -torch.inf).flatten(2).flatten(0, 1)
            parts = f_mutual_information(positive.flatten(), cosines, self.divergence, self.sigma)
            found = match.found()
            repelled, drawn = parts.view(*found.shape, 2).unbind(-1)
            loss = mean_of(drawn + self.weight * repelled, found, 'counted')
        named = dict(alignment=drawn, uniformity=repelled, pos_sim=positive)
        return loss, {name: own_mean(x.detach(), found) for name, x in named.items()}
