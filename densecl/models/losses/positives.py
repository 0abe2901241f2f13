"""How the positives enter: the ``positives=`` choice of a contrastive objective."""

import torch
from torch import Tensor, nn

from densecl.distributed import gather, world_size
from densecl.registry import MODELS

from .candidates import Candidates
from .functional import contrastive_terms
from .samples import Samples
from .similarities import Similarities
from .tiled_functions import tiled_row_sum


class Positives(nn.Module):
    """One positive a query, in the denominator as well: ``-log(e^p / (e^p + e^n))``."""

    def restrict(self, candidates: Candidates, samples: Samples) -> Candidates:
        """The candidates that are negatives."""
        return candidates

    def forward(
        self, similarities: Similarities, log_mass: Tensor, everyone: Candidates, samples: Samples
    ) -> Tensor:
        """The loss of each query.

        Args:
            similarities: queries, positives, negatives.
            log_mass: (N,) log of the negatives' part of the denominator, -inf without negatives.
            everyone: all candidates, before :meth:`restrict`.
            samples: the images behind the queries.

        Returns:
            (N,).
        """
        return contrastive_terms(similarities.positive, log_mass)


@MODELS.register_module()
class Decoupled(Positives):
    """The positive leaves the denominator (DCL, Yeh et al., 2022, eq. 5); the loss may be negative.

    Args:
        sigma: weights queries by ``2 - softmax(cosine / sigma) * N`` over the batch of all processes (DCLW,
            eq. 6); None weights all alike.
        detach_weights: no gradient through these weights; the two public codes differ in it.
    """

    def __init__(self, sigma: float | None = None, detach_weights: bool = False) -> None:
        super().__init__()
        self.sigma = sigma
        self.detach_weights = detach_weights

    def forward(self, similarities, log_mass, everyone, samples):
        """See :class:`Positives`; 0 for a query without negatives."""
        cosine = similarities.cosine.detach() if self.detach_weights else similarities.cosine
        weight = 1.0 if self.sigma is None else self.weights(cosine)
        return torch.where(log_mass == -torch.inf, 0.0, log_mass - weight * similarities.positive)

    def weights(self, cosine: Tensor) -> Tensor:
        """(N,) of mean 1 over all processes: easy positives count less."""
        total = gather(cosine / self.sigma).logsumexp(0)
        return 2 - len(cosine) * world_size() * (cosine / self.sigma - total).exp()


@MODELS.register_module()
class Reweighted(Positives):
    """Each query's loss over 1 - P, P being its positive's probability (MACL, Huang et al., 2023).

    Args:
        eps: added to 1 - P, which the official snippet divides by as it is.
    """

    def __init__(self, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, similarities, log_mass, everyone, samples):
        """See :class:`Positives`."""
        loss = super().forward(similarities, log_mass, everyone, samples)
        return loss / (self.eps - loss.detach().neg().expm1())  # 1 - P = 1 - exp(-loss)


@MODELS.register_module()
class SameLabel(Positives):
    """Every candidate of the query's class is a positive, beside the other view of its image.

    Candidates and queries without a label (-1) have no further positives.

    Args:
        form: ``'out'``: mean over positives of the log-probability (SupCon, Khosla et al., 2020, eq. 2);
            ``'in'``: log of the mean probability (eq. 3); ``'sincere'``: positives do not compete with one
            another (SINCERE, Feeney and Hughes, 2023).
    """

    def __init__(self, form: str = 'out') -> None:
        super().__init__()
        if form not in ('out', 'in', 'sincere'):
            raise ValueError(f"SameLabel: form must be 'out', 'in' or 'sincere', got {form!r}")
        self.form = form

    def restrict(self, candidates, samples):
        """SINCERE's negatives are of other classes; SupCon keeps all in the denominator."""
        same = self.same_class(candidates, samples)
        if self.form != 'sincere':
            return candidates
        return candidates.without(lambda columns, _: ~same(columns))

    def same_class(self, candidates: Candidates, samples: Samples):
        """A function of a slice of columns: bool (N, k)."""
        if samples.labels is None or candidates.labels is None:
            raise ValueError(
                'SameLabel needs labels: take a source that has them, such as '
                "train_dataloader.dataset.source=dict(type='ImageNet'), and negatives of the batch "
                "(queue=0, batch='views')"
            )
        mine = samples.of_queries(samples.labels)[:, None]
        return lambda columns: (mine == candidates.labels[columns]) & (mine >= 0)

    def forward(self, similarities, log_mass, everyone, samples):
        """See :class:`Positives`."""
        everyone = everyone.gathered()
        same = self.same_class(everyone, samples)
        mates = everyone.without(lambda columns, _: same(columns))
        count = mates.count(similarities.query)
        others = similarities.with_candidates(mates)
        positive = similarities.positive
        if self.form == 'in':
            total = torch.logaddexp(positive, others.logsumexp())
            return torch.logaddexp(positive, log_mass) - (total - (count + 1).log())
        if self.form == 'out':
            mean = (positive + others.logit_sum()) / (count + 1)
            return torch.logaddexp(positive, log_mass) - mean
        total = contrastive_terms(positive, log_mass) + self.sum_of_losses(others, log_mass)
        return total / (count + 1)

    @staticmethod
    def sum_of_losses(similarities: Similarities, log_mass: Tensor) -> Tensor:
        """(N,) sum over the candidates of ``-log(e^p / (e^p + e^n))``."""

        def losses(query, keys, columns, log_mass):
            cosine = query @ keys.T
            kept = similarities.candidates.keep(columns, cosine)
            each = contrastive_terms(similarities.logits(cosine), log_mass[:, None])
            return each.masked_fill(~kept, 0).sum(1)

        return tiled_row_sum(losses, similarities.query, similarities.candidates.keys, log_mass)
