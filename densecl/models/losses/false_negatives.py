"""Candidates of the query's own kind that are no negatives: eliminated or attracted."""

import torch
from torch import Tensor

from densecl.distributed import rank
from densecl.registry import MODELS

from .candidates import Candidates, Keep
from .functional import unit
from .negatives import Negatives
from .samples import Samples
from .similarities import Similarities
from .tiled import hardest_keys


class FalseNegatives(Negatives):
    """What such choices share; a subclass says which candidates are false negatives (:meth:`rule`).

    Args:
        treatment: ``'elimination'`` takes them out of the denominator; ``'attraction'`` leaves them there
            and makes them positives too: ``-1/(1 + |F|) sum log softmax`` over the positive and F.
        weighting: module config of how the remaining negatives are weighted, such as
            ``dict(type='MovingAverage', ...)``; all alike by default.
    """

    def __init__(self, treatment: str = 'elimination', weighting: dict | None = None) -> None:
        super().__init__()
        name = type(self).__name__
        if treatment not in ('elimination', 'attraction'):
            raise ValueError(
                f"{name}: treatment must be 'elimination' or 'attraction', got {treatment!r}"
            )
        self.treatment = treatment
        self.weighting = Negatives() if weighting is None else MODELS.build(weighting)
        if isinstance(self.weighting, FalseNegatives):
            raise ValueError(
                f'{name}: weighting must say how negatives are weighted (Debiased, Hard, Mixing, '
                f'MovingAverage), got another choice of false negatives: {weighting["type"]}'
            )

    def rule(self, similarities: Similarities, samples: Samples) -> Keep | None:
        """``rule(columns, cosines (N, k)) -> bool (N, k)``: which are false negatives; None: none yet."""
        raise NotImplementedError

    def forward(self, similarities, samples):
        """See :class:`Negatives`."""
        rule = self.rule(similarities, samples) if self.treatment == 'elimination' else None
        if rule is None:
            return self.weighting(similarities, samples)
        true = similarities.candidates.without(lambda columns, cosines: ~rule(columns, cosines))
        remaining = similarities.with_candidates(true)
        log_mass = self.weighting(remaining, samples)
        similarities.hardest = remaining.hardest
        return log_mass

    def attracted(self, similarities, samples):
        """See :class:`Negatives`."""
        rule = self.rule(similarities, samples) if self.treatment == 'attraction' else None
        if rule is None:
            return None
        found = similarities.with_candidates(similarities.candidates.without(rule))
        return found.logit_sum(), found.candidates.count(similarities.query)


@MODELS.register_module()
class SimilarImages(FalseNegatives):
    """The ``top`` candidates most similar to any view of the query's image (FNC, Huynh et al., 2022).

    A candidate's score is its largest cosine with the image's own views: the query's (with dense heads what
    stands for its image, ``samples.queries``), the key's and the support views of ``samples.support``
    (:class:`~densecl.models.heads.ImageHead`'s ``support``; the official code has eight). A candidate is a
    false negative where its score is among the ``top`` highest and above the threshold. The views of
    the present batch's same image never count; an older key of it in a queue is a candidate like others.
    As in the official code, several views of one false negative may be found, and each counts.

    The official code attracts; its loss also has the support views as positives, which here are heads'
    ``pairs``.

    Args:
        top: how many candidates may be false negatives.
        threshold: least cosine, in [-1, 1].
        treatment: see :class:`FalseNegatives`.
        weighting: see :class:`FalseNegatives`.
    """

    def __init__(
        self,
        top: int = 10,
        threshold: float = 0.7,
        treatment: str = 'elimination',
        weighting: dict | None = None,
    ) -> None:
        super().__init__(treatment, weighting)
        if top < 1 or not -1 <= threshold <= 1:
            raise ValueError(
                f'SimilarImages: top must be at least 1 and threshold in [-1, 1], got {top} and {threshold}'
            )
        self.top = top
        self.threshold = threshold

    @torch.no_grad()
    def rule(self, similarities, samples):
        """See :class:`FalseNegatives`."""
        found = self.search(own_views(similarities, samples), similarities.candidates)
        found = samples.of_queries(found)
        return lambda columns, _: marked(found, columns)

    def search(self, views: list[Tensor], candidates: Candidates) -> Tensor:
        """(B, top') columns of the false negatives of B images, -1 where there are fewer."""
        candidates = candidates.gathered()
        batch, keep = len(views[0]), None
        if candidates.images is not None:
            numbers = torch.arange(batch, device=views[0].device) + rank() * batch

            def keep(columns: slice, _: Tensor) -> Tensor:
                return numbers[:, None] != candidates.images[columns]

        top = min(self.top, len(candidates))
        # The highest maxima over the views are among each view's highest.
        each = [hardest_keys(view, candidates.keys.detach(), top, keep) for view in views]
        score, order = torch.cat([s for s, _ in each], 1).sort(1, descending=True)
        columns = torch.cat([c for _, c in each], 1).gather(1, order)
        known = (columns[:, :, None] == columns[:, None]).tril(-1).any(2)
        score, order = score.masked_fill(known, -torch.inf).topk(top, 1)
        return columns.gather(1, order).masked_fill(score <= self.threshold, -1)


def own_views(similarities: Similarities, samples: Samples) -> list[Tensor]:
    """Unit vectors (B, C) of each view of the queries' images that is at hand."""
    views = [similarities.keys]
    if samples.queries is not None:
        views.append(unit(samples.queries))
    elif samples.rows is None:
        views.append(similarities.query)
    if samples.support is not None:
        views.extend(unit(samples.support))
    return views


def marked(found: Tensor, columns: slice) -> Tensor:
    """bool (N, k): which of a slice of columns is among the (N, F) columns found."""
    width = columns.stop - columns.start
    place = found - columns.start
    place = place.masked_fill((place < 0) | (place >= width), width)
    mask = torch.zeros(len(found), width + 1, dtype=torch.bool, device=found.device)
    return mask.scatter_(1, place, True)[:, :width]
