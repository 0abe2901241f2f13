"""The distance between predicted and true values."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.messages import check_choice
from densecl.numerics import full_precision, no_autocast
from densecl.registry import MODELS
from densecl.structures import Comparison

from .objective import Objective, mean_of

DISTANCES = {'squared': Tensor.square, 'absolute': Tensor.abs}


@no_autocast
def channel_mean(query: Tensor, answers: Tensor, distance: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean distance over channels, (..., D) and (..., D) -> (...)."""
    return distance(full_precision(query) - full_precision(answers)).mean(-1)


def with_border(found: Tensor, grid: tuple[int, int], border: int) -> Tensor:
    """Add to the ``found`` units of a grid all units in a square up to ``border`` away: (B, N) bool -> same.

    The N units are the cells of the grid, row by row.
    """
    maps = found.unflatten(1, grid)[:, None].float()
    return F.max_pool2d(maps, 2 * border + 1, stride=1, padding=border).flatten(1) > 0


@MODELS.register_module()
class Reconstruction(Objective):
    """Distance of each unit from its answer: the mean over channels, then over units.

    For the pixels of masked patches it is the loss of MAE (He et al., 2022) with ``'squared'``, and of SimMIM
    (Xie et al., 2022) with ``'absolute'``. No gradient reaches the keys.

    Args:
        distance: ``'squared'`` or ``'absolute'``, of each channel.
        mean: ``'counted'``: over the counted units of all processes; ``'images'``: over the counted units of
            each image, then over images.
        border: units of a grid count, too, if they are at most this many units from one that counts (context
            encoders, Pathak et al., CVPR 2016: 4 pixels around the hole, which the network sees).
        border_weight: factor of the terms of these units; the mean is not divided by it.
    """

    def __init__(
        self, distance: str = 'squared', mean: str = 'counted', border: int = 0, border_weight: float = 10.0
    ) -> None:
        super().__init__()
        check_choice('Reconstruction: distance', distance, DISTANCES)
        self.distance = DISTANCES[distance]
        self.mean = check_choice('Reconstruction: mean', mean, ('counted', 'images'))
        self.border, self.border_weight = border, border_weight
        self.needs = frozenset({'one answer', 'grid', 'rows'} if border else {'one answer'})

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        match, query = comparison.match, comparison.query.compared
        answers = match.sum_of(comparison.key.vectors).detach()
        if query.shape != answers.shape:
            raise ValueError(
                f'Reconstruction: {query.shape[-1]} values are predicted of a unit, its answer has '
                f'{answers.shape[-1]}; give projector and target the same patch and channels'
            )
        terms, counted = channel_mean(query, answers, self.distance), match.found()
        if self.border:
            inner, counted = counted, with_border(counted, comparison.query.place.grid, self.border)
            terms = torch.where(inner, terms, self.border_weight * terms)
        return mean_of(terms, counted, self.mean), {}
