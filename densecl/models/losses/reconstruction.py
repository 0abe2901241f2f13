"""Distance of what is predicted from what is there."""

from collections.abc import Callable

from torch import Tensor

from densecl.numerics import full_precision, no_autocast
from densecl.registry import MODELS
from densecl.structures import Comparison

from .objective import Objective, check_mean, mean_of

DISTANCES = {'squared': Tensor.square, 'absolute': Tensor.abs}


@no_autocast
def channel_mean(query: Tensor, answers: Tensor, distance: Callable[[Tensor], Tensor]) -> Tensor:
    """(..., D) and (..., D) -> (...), the mean distance of channels."""
    return distance(full_precision(query) - full_precision(answers)).mean(-1)


@MODELS.register_module()
class Reconstruction(Objective):
    """Distance of each unit from its answer: the mean over channels, then over units.

    Of masked patches and pixels it is the loss of MAE (He et al., 2022) with ``'squared'``, and of SimMIM
    (Xie et al., 2022) with ``'absolute'``. No gradient reaches the keys.

    Args:
        distance: ``'squared'`` or ``'absolute'``, of each channel.
        mean: ``'counted'``: over the units of all processes that count; ``'images'``: over those of an image,
            then over images.
    """

    needs = frozenset({'one answer'})

    def __init__(self, distance: str = 'squared', mean: str = 'counted') -> None:
        super().__init__()
        if distance not in DISTANCES:
            raise ValueError(
                f'Reconstruction: distance must be one of {", ".join(DISTANCES)}, got {distance!r}'
            )
        self.distance = DISTANCES[distance]
        self.mean = check_mean(mean, 'Reconstruction', ('counted', 'images'))

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        match, query = comparison.match, comparison.query.compared
        answers = match.sum_of(comparison.key.vectors).detach()
        if query.shape != answers.shape:
            raise ValueError(
                f'Reconstruction: {query.shape[-1]} values are predicted of a unit, its answer has '
                f'{answers.shape[-1]}; give projector and target the same patch and channels'
            )
        return mean_of(channel_mean(query, answers, self.distance), match.found(), self.mean), {}
