"""The contrastive objective: it compares answers with a set of candidates."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from densecl.distributed import all_reduce, gather, world_size
from densecl.messages import check_choice
from densecl.models.memory import Queue
from densecl.numerics import unit
from densecl.registry import MODELS
from densecl.schedule import Clock
from densecl.structures import Batch, Comparison, Units

from .candidates import Candidates, Pairs, Scores, logits_of
from .filters.base import Filter
from .forms import FORMS, Answers, contrastive_terms, split_by_role
from .masses import Mass
from .objective import MEANS, Objective, mean_of, own_mean
from .sources import SOURCES, batch_candidates
from .temperatures import TemperatureFree, positive_schedule

NEEDS = {
    'keys': {'pooled'},
    'views': {'pooled'},
    'units': {'equal count'},
    'units+own': {'own', 'ids'},
    'units+queries': {'ids'},
    'image': {'several'},
    'others': {'others', 'one answer'},
}


@MODELS.register_module()
class InfoNCE(Objective):
    """``-log( e^(q.k+ / t) / (e^(q.k+ / t) + sum_k e^(q.k / t)) )``, mean over the queries, on unit vectors.

    Contrastive losses differ in three points: what the candidates k are, which of them are answers k+
    (positives), and how both enter the formula. The arguments below choose these points; the configs in
    ``configs/_base_/methods`` show the choice of each method.

    With several processes, candidates of the batch come from all processes, and each process scores its own
    queries. If batches have equal size, the mean of losses and gradients over the processes equals that of
    one process with the whole batch.

    Args:
        temperature: t > 0; a schedule, ``dict(start=0.5, end=0.1)``; or ``dict(type='LearnedTemperature')``.
        queue: number of pooled keys of earlier batches that are candidates, from any image; 0: no queue.
        dim: width C of the keys in the queue.
        batch: candidates from the present batch, in addition to the queue:

            - ``'keys'``: pooled keys of other images.
            - ``'views'``: pooled keys and pooled queries of other images.
            - ``'units'``: all valid units of the key side, except the query's answers. Other units of the
              query's image are candidates, too.
            - ``'units+own'``: as ``'units'``, and the units of the query's own view from the key side's
              encoder, except those with the query's id.
            - ``'units+queries'``: as ``'units+own'``, but from the query side, without gradient.
            - ``'image'``: only from the query's image: all valid units that are not answers.
            - ``'others'``: ``Units.others`` of all images. From the query's own image, only those that have
              no area in common with the answer.
            - None: no candidates from the batch.
        negatives: module config, or a list of them: rules that find false negatives, such as
            ``dict(type='SimilarImages')``, and at most one weighting, such as ``dict(type='Debiased')``.
        form: how several answers enter the loss. The share of an answer is its exponential divided by the
            denominator, which has all answers and candidates, except with ``'apart'`` and ``decoupled``.

            - ``'out'``: mean of the logarithms of the answers' shares (SupCon, Khosla et al., 2020, eq. 2).
            - ``'in'``: logarithm of the sum of their shares.
            - ``'in-mean'``: logarithm of the mean of their shares (SupCon, eq. 3); compared with ``'in'``,
              the logarithm of the number of answers is added to the loss.
            - ``'apart'``: mean over the answers, where the denominator of each answer has only this answer
              and the negatives (SINCERE, Feeney and Hughes, 2023).
        decoupled: remove the answers from the denominator (DCL, eq. 5). The loss may then be negative. A
            query without candidates adds 0, also one whose candidates are all answers.
        sigma: with ``decoupled``: weight the answers by ``2 - softmax(cosine / sigma) * R`` over the R
            counted queries of all processes (DCLW, eq. 6).
        detach_weights: no gradient through these weights.
        reweighted: divide each query's loss by 1 - P, where P is its answer's share (MACL).
        times_temperature: multiply each query's loss by its temperature, through which no gradient flows.
            Then the size of the gradients does not depend on the temperature.
        mean: ``'rows'``, ``'counted'`` or ``'images'``, see :func:`.mean_of`; or ``'weights'``: divide by the
            sum, over all processes, of the weights that the rule gives the queries. With
            ``SameId(share_repeats=True)`` this is the mean over objects, however many units each has.
        gathered: take candidates from the batches of all processes, not only of this process.
        overlapping: with ``'others'``: places that overlap the answer are candidates, too (official code of
            ReSim).
        own_weight: with ``'units'``: a number added to the logits of the query's hard negatives, which are
            the other units of its own image. They then count e^own_weight times (SimCSE, Gao et al., 2021).
    """

    weighs = True

    def __init__(
        self,
        temperature: float | dict = 0.2,
        queue: int = 65536,
        dim: int = 128,
        batch: str | None = None,
        negatives: dict | list[dict] | None = None,
        form: str = 'out',
        decoupled: bool = False,
        sigma: float | None = None,
        detach_weights: bool = False,
        reweighted: bool = False,
        times_temperature: bool = False,
        mean: str = 'rows',
        gathered: bool = True,
        overlapping: bool = False,
        own_weight: float = 0.0,
    ) -> None:
        super().__init__()
        check_choice('InfoNCE: batch', batch, (None, *SOURCES))
        check_choice('InfoNCE: form', form, FORMS)
        module = isinstance(temperature, dict) and 'type' in temperature
        self.temperature = MODELS.build(temperature) if module else None
        self.schedule = None if module else positive_schedule(temperature, 'InfoNCE: temperature')
        without = isinstance(self.temperature, TemperatureFree)
        for wrong, said in (
            (not queue and batch is None, "no candidates; set queue > 0 or batch, such as batch='views'"),
            (decoupled and form == 'apart', "decoupled=True needs a form other than 'apart'"),
            (decoupled and reweighted, 'reweighted needs the share of the answer; decoupled=True has none'),
            (sigma is not None and not decoupled, 'sigma needs decoupled=True'),
            (detach_weights and sigma is None, 'detach_weights=True does nothing without sigma'),
            (overlapping and batch != 'others', "overlapping=True does nothing without batch='others'"),
            (
                times_temperature and without,
                'times_temperature needs a temperature; TemperatureFree has none',
            ),
            (own_weight and without, 'own_weight needs logits at a temperature; TemperatureFree has none'),
            (
                own_weight and (batch != 'units' or queue or negatives is not None),
                "own_weight goes with batch='units' and queue=0, without negatives=",
            ),
        ):
            if wrong:
                raise ValueError(f'InfoNCE: {said}')
        self.extra_channels = 0 if self.temperature is None else self.temperature.extra_channels
        self.clock: Clock | None = None
        self.queue = Queue(queue, dim) if queue else None
        self.sends = ('pooled',) if queue else ()
        self.batch, self.gathered, self.overlapping = batch, gathered, overlapping
        self.own_weight = own_weight
        self.needs = frozenset(NEEDS.get(batch, ())) | ({'pooled'} if queue else set())
        if sigma is not None:  # over the rows of all processes
            self.needs |= {'equal count'}
        self.across = batch not in (None, 'image')
        self.filters, self.mass = _built(negatives)
        self.form, self.decoupled, self.sigma, self.detach_weights = form, decoupled, sigma, detach_weights
        self.reweighted, self.times_temperature = reweighted, times_temperature
        self.mean = check_choice('InfoNCE: mean', mean, (*MEANS, 'weights'))

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and two diagnostics over this process's counted queries.

        ``pos_sim`` is the mean cosine of a query with its answers. ``top1`` is the share of queries whose
        answers have a larger mean cosine than every candidate. If it is near 1 early in training, batch
        statistics leak the answer.
        """
        with torch.autocast(comparison.query.vectors.device.type, enabled=False):
            terms, counted, diagnostics = self.terms(comparison)
            return mean_of(terms, counted, self.mean, comparison.match.weight), diagnostics

    def terms(
        self, c: Comparison, candidates: Candidates | None = None
    ) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
        """The terms of :meth:`score` (B, N), which of them count (None: all), and the diagnostics."""
        extra = None
        if self.extra_channels:
            extra = c.query.compared[..., : self.extra_channels].flatten(0, 1)
            c = without_channels(c, self.extra_channels)
        query, keys = unit(c.query.compared).flatten(0, 1), unit(c.key.vectors)
        own = None if c.match.mask is None else Pairs.between(query, keys, c.match.answers(keys.shape[1]))
        if own is None:
            cosine = (query * c.match.sum_of(keys).flatten(0, 1)).sum(-1)
        else:
            cosine = own.mean(own.cosines)
        if self.queue is not None and query.shape[1] != self.queue.keys.shape[1]:
            raise ValueError(
                f'InfoNCE: dim={self.queue.keys.shape[1]} is the width of the queue, but the projector gives '
                f'{query.shape[1]} channels; give both the same number'
            )
        if candidates is None:
            candidates = self.candidates(c, query, keys)
        t = self.schedule(self.clock) if self.temperature is None else self.temperature(cosine, c, extra)
        positive = logits_of(cosine, t) if own is None else own.mean(logits_of(own.cosines, t))
        scores = Scores(query, positive, candidates, t, c)
        counted, answers = c.match.valid, None  # None: one answer each, in the query's own image
        if own is not None or self.filters or c.match.across is not None:
            scores, mates = self.without_false_negatives(scores)
            answers = Answers(scores, own, mates)
        elif self.training and self.temperature is not None:
            self.temperature.observe(scores)
        if own is not None:
            found = (answers.count > 0).view(c.query.vectors.shape[:2])
            counted = found if counted is None else counted & found
        mass = scores.logsumexp() if self.mass is None else self.mass(scores)
        if self.decoupled:
            value = scores.positive if answers is None else answers.value(self.form)
            weight = 1.0 if self.sigma is None else self.weights(cosine, counted)
            terms = torch.where(mass == -torch.inf, 0.0, mass - weight * value)
        elif answers is None:
            terms = contrastive_terms(scores.positive, mass)
        else:
            terms = answers.terms(mass, self.form)
        if self.reweighted:
            terms = terms / (1e-8 - terms.detach().neg().expm1())  # 1 - P = 1 - exp(-loss)
        if self.times_temperature:
            terms = terms * (t.detach() if isinstance(t, Tensor) else t)
        terms = terms.view(c.query.vectors.shape[:2])
        if c.match.weight is not None:
            terms = terms * c.match.weight.to(terms.dtype)
        return terms, counted, watched(cosine.view_as(terms), scores.hardest, counted)

    def candidates(self, c: Comparison, query: Tensor, keys: Tensor) -> Candidates:
        """The candidates of queue and batch, for ``query`` (R, C) and ``keys`` (B, M, C), unit vectors."""
        options = dict(gathered=self.gathered, overlapping=self.overlapping)
        if self.queue is None:
            return batch_candidates(c, query, keys, self.batch, **options, own_weight=self.own_weight)
        # The many keys are not copied here: code that reads them in the backward pass makes a copy. A queued
        # key is a candidate of every query, also of its own image, as in MoCo.
        indices = self.queue.images.clone()
        before = Candidates(self.queue.keys.to(query.dtype), indices=indices, volatile=True)
        if self.batch is None:
            return before
        return before.joined(batch_candidates(c, query, keys, self.batch, **options, ring=False))

    def without_false_negatives(self, scores: Scores) -> tuple[Scores, Scores | None]:
        """The scores with the denominator's candidates, and with those that are answers (or None)."""
        rules, across = {}, scores.comparison.match.across
        apart = self.decoupled or self.form == 'apart'
        if across is not None:
            same = across(scores.candidates)
            rules[lambda columns, _: same(columns)] = 'answer'
        if self.training and self.temperature is not None:
            self.temperature.observe(split_by_role(scores, rules, apart)[0])
        for part in self.filters:
            rule = part.rule(split_by_role(scores, rules, apart)[0])
            if rule is not None:
                rules[rule] = part.role
        return split_by_role(scores, rules, apart)

    def weights(self, cosine: Tensor, counted: Tensor | None) -> Tensor:
        """The weights of DCLW, (R,), with mean 1 over the counted queries of all processes."""
        logits = (cosine.detach() if self.detach_weights else cosine) / self.sigma
        number = len(cosine) * world_size()
        if counted is not None:
            logits = logits.masked_fill(~counted.flatten(), torch.finfo(logits.dtype).min / 4)
            number = all_reduce(counted.sum().to(cosine.dtype))
        return 2 - number * (logits - gather(logits).logsumexp(0)).exp()

    @torch.no_grad()
    def remember(self, keys: list[Units], batch: Batch) -> None:
        """Put the pooled keys of all processes into the queue, and let every part learn from the step."""
        if self.queue is not None:
            for key in keys:
                pooled = key.of_all('pooled')[..., self.extra_channels :]
                self.queue.enqueue(unit(pooled), batch.of_all().indices)
        if self.extra_channels:
            keys = [without_channels(key, self.extra_channels) for key in keys]
        for part in self.filters:
            part.learn(keys, batch)
        for part in (self.mass, self.temperature):
            if part is not None:
                part.learn(batch)


def _built(negatives: dict | list[dict] | None) -> tuple[nn.ModuleList, Mass | None]:
    """The filters and the weighting of ``negatives=``."""
    configs = [] if negatives is None else negatives if isinstance(negatives, list | tuple) else [negatives]
    parts = [x if isinstance(x, nn.Module) else MODELS.build(x) for x in configs]
    masses = [part for part in parts if isinstance(part, Mass)]
    for part in parts:
        if not isinstance(part, Mass | Filter) or len(masses) > 1:
            names = ', '.join(type(part).__name__ for part in parts)
            raise ValueError(
                'InfoNCE: negatives takes choices of false negatives (SimilarImages, GloFND, Clusters) and '
                f'at most one weighting (Debiased, Hard, Mixing, MovingAverage); got {names}'
            )
    return nn.ModuleList(part for part in parts if isinstance(part, Filter)), (masses or [None])[0]


def without_channels(c: Comparison | Units, extra: int) -> Comparison | Units:
    """The record without the first ``extra`` channels of its vectors."""
    parts = {n: x for n in ('query', 'key', 'own') if (x := getattr(c, n, None)) is not None}
    names = ('vectors', 'predicted', 'pooled', 'pooled_predicted', 'others', 'support')
    vectors = {n: x[..., extra:] for n in names if (x := getattr(c, n, None)) is not None}
    return replace(c, **vectors, **{n: without_channels(x, extra) for n, x in parts.items()})


@torch.no_grad()
def watched(cosine: Tensor, hardest: Tensor | None, counted: Tensor | None) -> dict[str, Tensor]:
    """``pos_sim`` and ``top1`` over the counted queries, from cosines (B, N)."""
    found = {'pos_sim': own_mean(cosine, counted)}
    if hardest is not None:
        found['top1'] = own_mean((cosine > hardest.view_as(cosine)).float(), counted)
    return found
