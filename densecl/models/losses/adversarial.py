"""Whether a discriminator takes what is predicted for the truth."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from densecl.numerics import full_precision
from densecl.registry import MODELS
from densecl.structures import Comparison

from .objective import Objective


def adversarial_losses(discriminator: nn.Module, real: Tensor, made: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The losses of both players, so that one backward pass gives each its own gradient.

    Args:
        discriminator: images -> logits that they are real.
        real, made: (B, C, H, W).

    Returns:
        Binary cross-entropy of the discriminator, summed over real and made, whose gradient goes to it alone;
        that of the maker, made as real, whose gradient goes to ``made`` alone (Goodfellow et al., 2014); and
        the logits of ``made``.
    """
    of_real, of_made = (full_precision(discriminator(x.detach())) for x in (real, made))
    own = F.binary_cross_entropy_with_logits(of_real, torch.ones_like(of_real))
    own = own + F.binary_cross_entropy_with_logits(of_made, torch.zeros_like(of_made))
    fixed = {name: value.detach() for name, value in discriminator.named_parameters()}
    judged = full_precision(functional_call(discriminator, fixed, (made,)))
    return own, F.binary_cross_entropy_with_logits(judged, torch.ones_like(judged)), of_made.detach()


@MODELS.register_module()
class Adversarial(Objective):
    """A discriminator tells units that are predicted from true ones; the prediction learns to pass for true.

    The adversarial part of context encoders (Pathak et al., CVPR 2016), beside a :class:`Reconstruction`.
    Both players learn in one step, from the networks as they were before it; the discriminator is a part of
    the objective, and a rule ``dict(match='discriminator', lr_mult=0.1)`` gives it a rate of its own.

    Args:
        discriminator: module config; it gets a map of the units (B, D, h, w), of pixels an image, and returns
            logits. It sees what is predicted of units that count, among the true ones of all others.
        weight: of the prediction's loss; the discriminator's own has 1.
        size: side in units of the square in the middle that it sees alone, all of it as predicted; None: all.
    """

    needs = frozenset({'one answer', 'grid'})
    keeps_keys = True

    def __init__(self, discriminator: dict, weight: float = 0.001, size: int | None = None) -> None:
        super().__init__()
        self.discriminator = MODELS.build(discriminator)
        self.weight, self.size = weight, size

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss; ``discriminator``, that player's own part; and ``fooled``, the mean probability that it
        gives to predictions. 2 ln 2 = 1.39 and 0.5 mean that it guesses."""
        query, match = comparison.query, comparison.match
        truth, made = match.sum_of(comparison.key.vectors).detach(), query.compared
        if self.size is None:
            made = torch.where(match.found()[..., None], made, truth.to(made.dtype))
        maps = (full_precision(x).transpose(1, 2).unflatten(2, query.place.grid) for x in (truth, made))
        real, made = (self._middle(x) for x in maps)
        own, passing, logits = adversarial_losses(self.discriminator, real, made)
        log = {'discriminator': own.detach(), 'fooled': logits.sigmoid().mean()}
        return self.weight * passing + own, log

    def _middle(self, maps: Tensor) -> Tensor:
        if self.size is None:
            return maps
        top, left = ((side - self.size) // 2 for side in maps.shape[2:])
        return maps[:, :, top : top + self.size, left : left + self.size]
