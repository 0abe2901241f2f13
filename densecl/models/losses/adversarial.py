"""The adversarial loss: a discriminator tells predicted units from true ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from densecl.numerics import full_precision
from densecl.registry import MODELS
from densecl.structures import Comparison

from .objective import Objective


def adversarial_losses(discriminator: nn.Module, real: Tensor, made: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The losses of discriminator and generator. One backward pass gives each only its own gradient.

    Args:
        discriminator: maps images to logits of being real.
        real, made: (B, C, H, W), true and generated images.

    Returns:
        The discriminator's binary cross-entropy, the sum over real and made; its gradient reaches only the
        discriminator. The generator's binary cross-entropy, with made labelled as real (Goodfellow et al.,
        2014); its gradient reaches only ``made``. And the logits of ``made``.
    """
    of_real, of_made = (full_precision(discriminator(x.detach())) for x in (real, made))
    own = F.binary_cross_entropy_with_logits(of_real, torch.ones_like(of_real))
    own = own + F.binary_cross_entropy_with_logits(of_made, torch.zeros_like(of_made))
    fixed = {name: value.detach() for name, value in discriminator.named_parameters()}
    judged = full_precision(functional_call(discriminator, fixed, (made,)))
    return own, F.binary_cross_entropy_with_logits(judged, torch.ones_like(judged)), of_made.detach()


@MODELS.register_module()
class Adversarial(Objective):
    """A discriminator learns to tell predicted units from true ones; the prediction learns to look true.

    It is the adversarial part of context encoders (Pathak et al., CVPR 2016), used beside a
    :class:`Reconstruction`. Both networks learn in the same step, each with the other as it was before the
    step. The discriminator is part of the objective. A rule ``dict(match='discriminator', lr_mult=0.1)``
    gives it its own learning rate.

    Args:
        discriminator: module config. It gets a map of the units (B, D, h, w), an image if units are pixels,
            and returns logits. In this map, units that count are predicted, and all others are true.
        weight: factor of the prediction's loss; the discriminator's own loss has the factor 1.
        size: side, in units, of a square in the middle. The discriminator then sees only this square, with
            all units predicted. None: it sees the whole map.
    """

    needs = frozenset({'one answer', 'grid', 'rows'})
    keeps_keys = True

    def __init__(self, discriminator: dict, weight: float = 0.001, size: int | None = None) -> None:
        super().__init__()
        self.discriminator = MODELS.build(discriminator)
        self.weight, self.size = weight, size

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss; ``discriminator``, its own part of the loss; and ``fooled``, the mean probability of
        being real that it gives to predictions. Values of 2 ln 2 = 1.39 and 0.5 mean that it guesses."""
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
