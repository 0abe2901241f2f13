"""Objectives on the cells of two views, any number of which are positive pairs."""

import torch
from torch import Tensor, nn

from densecl.distributed import all_gather, all_reduce, world_size
from densecl.models.memory import Queue
from densecl.registry import MODELS

from .functional import full_precision, multi_positive_terms, unit
from .samples import Samples
from .temperatures import AlignmentAdaptiveTemperature, LearnedTemperature, Temperature

# Those whose value is the same for all queries.
_TEMPERATURES = (Temperature, LearnedTemperature, AlignmentAdaptiveTemperature)


@MODELS.register_module()
class MultiPositive(nn.Module):
    """InfoNCE of cells that have any number of positives, mean over the cells that have one.

    Negatives are the key cells of the same image that are not the query's positives, as in PixContrast (Xie
    et al., 2021, eq. 2), or earlier images' pooled keys, with those cells then not entering. SetSim (Wang et
    al., 2022) has ``form='out', per_image=True, queue=65536``. Over processes the mean of losses and
    gradients is that of one process with the whole batch, however unevenly the positives are spread.

    Args:
        temperature: t > 0; a schedule; or the config of a temperature module that has one value for all
            queries (``LearnedTemperature``, ``AlignmentAdaptiveTemperature``).
        queue: number of earlier pooled keys that serve as negatives; 0: the image's own cells do.
        dim: width C of the keys in the queue.
        form: the sum over a query's positives is taken ``'in'`` the logarithm or ``'out'`` of it; see
            :func:`~densecl.models.losses.functional.multi_positive_info_nce`.
        per_image: mean over the cells of each image, then over images; one without a positive counts 0.
    """

    def __init__(
        self,
        temperature: float | dict = 0.3,
        queue: int = 0,
        dim: int = 128,
        form: str = 'in',
        per_image: bool = False,
    ) -> None:
        super().__init__()
        if form not in ('in', 'out'):
            raise ValueError(f"MultiPositive: form must be 'in' or 'out', got {form!r}")
        typed = isinstance(temperature, dict) and 'type' in temperature
        self.temperature = MODELS.build(temperature) if typed else Temperature(temperature)
        if type(self.temperature) not in _TEMPERATURES:
            names = ', '.join(kind.__name__ for kind in _TEMPERATURES[1:])
            raise ValueError(
                'MultiPositive: temperature must be a number, a schedule, or one of '
                f'{names}; got {type(self.temperature).__name__}'
            )
        self.queue = Queue(queue, dim) if queue else None
        self.form = form
        self.per_image = per_image

    def forward(
        self, query: Tensor, keys: Tensor, positives: Tensor, samples: Samples | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Score the cells of B images, then remember the images' keys.

        Args:
            query: (B, N, C).
            keys: (B, M, C).
            positives: bool (B, N, M).
            samples: the images; their positions in the data set go into the queue.

        Returns:
            The scalar loss; ``pos_sim``, the mean cosine of positive pairs; ``positives``, their number for
            each cell that has any.
        """
        samples = Samples() if samples is None else samples
        with torch.autocast(query.device.type, enabled=False):
            query, keys = unit(query), full_precision(keys)
            cosine = _mean_cosine(query.detach(), unit(keys).detach(), positives)
            temperature = self.temperature(cosine[None], samples, None)
            negatives = None if self.queue is None else self.queue.keys.to(query.dtype)
            terms = multi_positive_terms(query, keys, positives, temperature, negatives, self.form)
        if self.training and self.queue is not None:
            indices = None if samples.indices is None else all_gather(samples.indices)
            self.queue.enqueue(all_gather(unit(keys.detach().mean(1))), indices)
        matched = positives.any(-1)
        diagnostics = {'pos_sim': cosine, 'positives': positives.sum() / matched.sum().clamp(min=1)}
        if self.per_image:
            return (terms.sum(1) / matched.sum(1).clamp(min=1)).mean(), diagnostics
        count = all_reduce(matched.sum().to(terms.dtype))
        return terms.sum() * world_size() / count.clamp(min=1), diagnostics


def _mean_cosine(query: Tensor, keys: Tensor, positives: Tensor) -> Tensor:
    """Over the positive pairs of unit vectors."""
    total = torch.where(positives, query @ keys.transpose(1, 2), 0.0).sum()
    return total / positives.sum().clamp(min=1)
