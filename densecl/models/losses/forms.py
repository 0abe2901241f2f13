"""The forms of a contrastive loss with several answers (positives)."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .candidates import Pairs, Scores

#: The forms for several answers, see :class:`.InfoNCE`.
FORMS = ('out', 'in', 'in-mean', 'apart')


def contrastive_terms(positive_logit: Tensor, log_negatives: Tensor) -> Tensor:
    """``-log(e^p / (e^p + e^n)) = log(1 + e^(n - p))``, the last step of all contrastive losses here.

    ``positive_logit`` is p (R,). ``log_negatives`` is n (R,), the logarithm of the negatives' total mass. For
    n = -inf (no negatives) the term is 0, without gradient.
    """
    # Exact everywhere; softplus is the identity above its threshold, an error of 2e-9 in float64.
    return -F.logsigmoid(positive_logit - log_negatives)


def split_by_role(scores: Scores, rules: dict[Callable, str], apart: bool) -> tuple[Scores, Scores | None]:
    """Split the candidates: the scores with those of the denominator, and with those that are answers.

    ``rules`` maps each ``rule(columns, cosines) -> bool (R, k)`` to what the candidates that it finds become:
    ``'ignored'`` or an ``'answer'``. With ``apart`` answers also leave the denominator. The second result is
    None if no rule finds answers.
    """
    answering = [rule for rule, role in rules.items() if role == 'answer']
    remaining = everything = scores.candidates
    for rule, role in rules.items():
        if apart or role == 'ignored':
            remaining = remaining.where(lambda columns, cosines, rule=rule: ~rule(columns, cosines))
    scores = scores.with_candidates(remaining)
    if not answering:
        return scores, None

    def any_answers(columns: slice, cosines: Tensor) -> Tensor:
        return torch.stack([rule(columns, cosines) for rule in answering]).any(0)

    return scores, scores.with_candidates(replace(everything.gathered(), pairs=None).where(any_answers))


class Answers:
    """The answers of R queries; a query may have several.

    ``own`` is the pairs of queries with answers in their own image; None: one answer each, with the logit
    ``scores.positive``. ``mates`` is the scores with the candidates that are answers, too, or None.
    """

    def __init__(self, scores: Scores, own: Pairs | None, mates: Scores | None) -> None:
        self.positive, self.logits = scores.positive, scores.logits
        self.own, self.mates = own, mates
        #: (R,), log-sum-exp of the logits of answers in the own image; a very low number without answers.
        self.attraction = scores.positive if own is None else own.logsumexp(scores.logits(own.cosines))
        self.own_count = torch.ones_like(self.positive) if own is None else own.count()
        #: (R,), number of answers.
        self.count = self.own_count if mates is None else self.own_count + mates.candidates.count(mates.query)

    def value(self, form: str) -> Tensor:
        """One logit for all answers of each query, (R,).

        It is the mean of their logits (``'out'``), or the logarithm of the sum (``'in'``) or mean
        (``'in-mean'``) of the logits' exponentials.
        """
        if self.own is None and self.mates is None:
            return self.attraction
        if form == 'out' and self.mates is None:
            return self.positive
        if form == 'out':
            total = self.positive * self.own_count + self.mates.sum_of(self.logits)
            return total / self.count.clamp(min=1)
        value = self.attraction
        if self.mates is not None:
            value = torch.logaddexp(value, self.mates.logsumexp())
        return value - self.count.clamp(min=1).log() if form == 'in-mean' else value

    def terms(self, log_mass: Tensor, form: str) -> Tensor:
        """The terms of InfoNCE, (R,)."""
        if form == 'apart':
            return self.apart(log_mass)
        value = self.value(form)
        if value is self.attraction:
            return contrastive_terms(value, log_mass)
        return torch.logaddexp(self.attraction, log_mass) - value

    def apart(self, log_mass: Tensor) -> Tensor:
        """The terms of the form ``'apart'``, (R,): the mean over answers, each with only the negatives."""

        def each(cosines: Tensor, log_mass: Tensor) -> Tensor:
            return contrastive_terms(self.logits(cosines), log_mass[:, None])

        if self.own is None:
            total = contrastive_terms(self.attraction, log_mass)
        else:
            total = self.own.sum(each(self.own.cosines, log_mass))
        if self.mates is not None:
            total = total + self.mates.sum_of(each, log_mass)
        return total / self.count.clamp(min=1)
