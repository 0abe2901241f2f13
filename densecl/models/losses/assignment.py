"""Predicting the assignment of another view to prototypes, and SwAV's codes."""

import math

import torch
from torch import Tensor, nn

from densecl.distributed import all_gather, rank, world_size
from densecl.messages import check_choice
from densecl.models.memory import Queue
from densecl.numerics import full_precision, no_autocast
from densecl.registry import MODELS
from densecl.schedule import Clock
from densecl.structures import Units

from .objective import MEANS, Objective, mean_of, own_mean
from .temperatures import positive_schedule


def log_shares(scores: Tensor, temperature: float | Tensor) -> Tensor:
    """The student's prediction: ``log softmax(scores / temperature)``."""
    return (full_precision(scores) / temperature).log_softmax(-1)


def cross_entropy(log_prediction: Tensor, target: Tensor) -> Tensor:
    """``-sum_k target_k * log_prediction_k`` over the last dimension, (..., K) -> (...)."""
    return -(target * log_prediction).sum(-1)


def divergence(log_prediction: Tensor, log_target: Tensor, counted: Tensor | None = None) -> Tensor:
    """KL divergence ``sum_k p_k (log p_k - log q_k)`` over the last dimension, (..., K) -> (...).

    p is the target, q the prediction. ``counted`` is bool, the entries that count; None: all. The logarithms
    of the others may be -inf.
    """
    terms = log_target.exp() * (log_target - log_prediction)
    return (terms if counted is None else torch.where(counted, terms, 0.0)).sum(-1)


@torch.no_grad()
@no_autocast
def sinkhorn(
    scores: Tensor,
    epsilon: float | Tensor,
    iterations: int,
    across_ranks: bool = False,
    valid: Tensor | None = None,
) -> Tensor:
    """Assignments (codes) that use all prototypes equally (SwAV, Caron et al., 2020, section 3.1, after
    Cuturi, 2013).

    Columns and rows of ``exp(scores / epsilon)`` are normalised in turn, until every prototype has about the
    same mass. The samples are normalised last, so only their sums are exact. The computation is in the log
    domain: there no epsilon causes an overflow or a prototype without mass. The constants 1/K and 1/B cancel,
    so each process may have a different B.

    Args:
        scores: (B, K), cosines of samples and prototypes. With (B, N, K), each of N positions has separate
            assignments of its B samples (CAPI, Darcet et al., 2025).
        epsilon: > 0, smoothness; 0.05 in SwAV.
        iterations: >= 1, else a ValueError; 3 in SwAV.
        across_ranks: the samples of all processes are assigned together.
        valid: (B,) or (B, N) bool, the samples that take part; the others get zeros. None: all.

    Returns:
        The shape of ``scores``; the sum of each sample is 1.
    """
    if iterations < 1:
        raise ValueError(f'sinkhorn: iterations must be at least 1, got {iterations}')
    log_codes = full_precision(scores) / epsilon
    absent = None if valid is None else ~valid[..., None]
    for _ in range(iterations):
        counted = log_codes if absent is None else log_codes.masked_fill(absent, -torch.inf)
        mass = counted.logsumexp(0, keepdim=True)  # of each prototype, (1, K)
        if across_ranks:
            mass = all_gather(mass).logsumexp(0, keepdim=True)
        if absent is not None:  # possibly no sample takes part
            mass = mass.masked_fill(mass == -torch.inf, 0.0)
        log_codes = (log_codes - mass).log_softmax(-1)
    codes = log_codes.exp()
    return codes if absent is None else codes.masked_fill(absent, 0.0)


@no_autocast
def swapped_prediction(
    scores1: Tensor, scores2: Tensor, codes1: Tensor, codes2: Tensor, temperature: float | Tensor
) -> Tensor:
    """Each view's scores (B, K) predict the other view's codes of :func:`sinkhorn` (SwAV, eq. 1, 2); mean."""
    pairs = ((scores1, codes2), (scores2, codes1))
    terms = [cross_entropy(log_shares(x, temperature), full_precision(codes)) for x, codes in pairs]
    return torch.stack(terms).mean()


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy over the last dimension divided by ln K, (..., K) -> (...), in [0, 1]."""
    return torch.special.entr(probabilities).sum(-1) / math.log(probabilities.shape[-1])


def mean_shares(shares: Tensor, counted: Tensor | None) -> Tensor:
    """The mean distribution (K,) of the counted units (...) of ``shares`` (..., K); None: of all."""
    if counted is None:
        return shares.flatten(0, -2).mean(0)
    total = torch.where(counted[..., None], shares, 0.0).flatten(0, -2).sum(0)
    return total / counted.sum().clamp(min=1)


def groups_told_apart(of_mean: Tensor, mean: Tensor, prototypes: int) -> Tensor:
    """How many groups of units K prototypes separate: exp of the mutual information of unit and prototype.

    It is 1 if all units have the same distribution. It is at most K, and at most the number of units.

    Args:
        of_mean: entropy of the units' mean distribution, divided by ln K.
        mean: mean entropy of the units' distributions, divided by ln K.
        prototypes: K.
    """
    return (math.log(prototypes) * (of_mean - mean)).exp()


def prediction(objective: Objective, query: Units, temperature: float) -> Tensor:
    """Logarithms of the query view's shares (B, N, K); computed once for all pairs that use this view."""
    return query.once(f'prediction {id(objective)}', lambda: log_shares(query.compared, temperature))


def evenly_chosen(rows: Tensor, valid: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Select ``count`` of each image's ``rows`` (B, N, D), evenly spread over the valid rows, in order.

    Returns:
        (B, count, D), where rows repeat if an image has few valid ones; and (B, count) bool, false if an
        image has no valid row.
    """
    images, number = rows.shape[:2]
    valid = torch.ones_like(rows[..., 0], dtype=torch.bool) if valid is None else valid
    order = valid.byte().argsort(dim=1, descending=True, stable=True)
    there = valid.sum(1, keepdim=True)
    place = (2 * torch.arange(count, device=rows.device) + 1) * there // (2 * count)
    chosen = order.gather(1, place.clamp(max=number - 1))
    found = (there > 0).expand(images, count)
    return rows.gather(1, chosen[..., None].expand(-1, -1, rows.shape[2])), found


@MODELS.register_module()
class SwappedPrediction(Objective):
    """SwAV (Caron et al., 2020): Sinkhorn codes of a key view, predicted from every other view.

    The codes use all prototypes equally over the batch of all processes. For a small batch, a queue of
    earlier embeddings is added, with scores of the present prototypes (section 3.1). All processes hold the
    same queue, and each adds a part of it to the common Sinkhorn step.

    On foreground cells it is the loss of Leopart (Ziegler and Asano, 2022): ``assigned='all'``, and the queue
    stores some valid cells. With ``matching=dict(type='SharedGrid', size=7)`` the codes, not the
    scores, are interpolated on the common grid.

    Args:
        temperature: t > 0 of the prediction, or a schedule.
        epsilon: > 0, smoothness of the codes. If the loss stays at ln K, the official advice is 0.03.
        iterations: of Sinkhorn's algorithm.
        queue: number of embeddings to keep for each assigning view; 0: no queue.
        dim: width C of an embedding in the queue.
        queue_start: epoch in which the queue begins to fill. It is used as soon as it is full.
        assign: number of assigning views, which are the first ones. Each has its own queue.
        queue_units: how many units of an image enter the queue, evenly spread over the valid ones, in order;
            None: all.
        mean: see :func:`~densecl.models.losses.objective.mean_of`.
        assigned: which units of a key view get codes together, ``'valid'`` or ``'all'`` (Leopart: cells of
            the background, too).
    """

    needs = frozenset({'scores', 'embeddings', 'one answer'})
    assigns = True

    def __init__(
        self,
        temperature: float | dict = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        queue: int = 0,
        dim: int = 128,
        queue_start: float = 15,
        assign: int = 2,
        queue_units: int | None = None,
        mean: str = 'rows',
        assigned: str = 'valid',
    ) -> None:
        super().__init__()
        self.temperature = positive_schedule(temperature, 'SwappedPrediction: temperature')
        if not (epsilon > 0 and iterations >= 1 and queue >= 0):
            raise ValueError(
                'SwappedPrediction: epsilon must be > 0, iterations >= 1 and queue >= 0, '
                f'got {epsilon}, {iterations} and {queue}'
            )
        self.epsilon, self.iterations = epsilon, iterations
        self.queues = nn.ModuleList(Queue(queue, dim) for _ in range(assign if queue else 0))
        if queue_units is not None and queue_units < 1:
            raise ValueError(f'SwappedPrediction: queue_units must be at least 1, or None, got {queue_units}')
        self.queue_start, self.queue_units = queue_start, queue_units
        if queue and queue_units is None:
            self.needs = self.needs | {'equal count'}
        self.mean = check_choice('SwappedPrediction: mean', mean, MEANS)
        self.assigned = check_choice('SwappedPrediction: assigned', assigned, ('valid', 'all'))
        self.clock: Clock | None = None

    def score(self, comparison):
        """The loss, ln K if the prediction is only guessing; and diagnostics of the key's assigned units.

        ``code_entropy`` is the mean entropy of their codes divided by ln K; 1 means collapse: all images are
        the same. ``usage_entropy`` is the entropy of their mean prediction divided by ln K. ``groups`` is
        :func:`groups_told_apart` of the codes.
        """
        key, match, t = comparison.key, comparison.match, self.temperature(self.clock)
        whole = key.whole or key
        made = whole.once(f'codes {id(self)}', lambda: self.codes(whole, comparison.projector, t))
        codes, diagnostics = key.as_read(made[0]), made[1]
        terms = cross_entropy(prediction(self, comparison.query, t), match.sum_of(codes))
        return mean_of(terms, match.found(), self.mean), diagnostics

    @torch.no_grad()
    def codes(self, key: Units, projector: nn.Module, temperature: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The codes of a key view (B, N, K), and diagnostics."""
        everything = rows = full_precision(key.vectors).flatten(0, 1)
        own = valid = None if self.assigned == 'all' or key.valid is None else key.valid.flatten()
        if self.queues and self._started():
            queue, mine = self._queue_of(key), slice(rank(), None, world_size())
            everything = torch.cat([full_precision(projector.prototypes(queue.keys[mine])), rows])
            # The queue takes part only when it is full of real embeddings.
            serves = (queue.enqueued >= len(queue)).expand(len(everything) - len(rows))
            valid = torch.cat([serves, torch.ones_like(rows[:, 0], dtype=torch.bool) if own is None else own])
        codes = sinkhorn(everything, self.epsilon, self.iterations, across_ranks=True, valid=valid)
        codes = codes[-len(rows) :]
        mean = own_mean(entropy(codes), own)
        usage = entropy(mean_shares((rows / temperature).softmax(-1), own))
        groups = groups_told_apart(entropy(mean_shares(codes, own)), mean, codes.shape[-1])
        diagnostics = {'code_entropy': mean, 'usage_entropy': usage, 'groups': groups}
        return codes.view(key.vectors.shape), diagnostics

    @property
    def sends(self) -> tuple[str, ...]:
        fills = self.queues and self._started() and self.queue_units is None
        return ('embeddings', 'valid') if fills else ()

    @torch.no_grad()
    def remember(self, keys, batch):
        if not self.queues or not self._started():
            return
        for key in keys:
            if self.queue_units is None:
                rows = key.of_all('embeddings')
                valid = None if key.valid is None else key.of_all('valid').flatten()
            else:
                rows, there = evenly_chosen(key.embeddings, key.valid, self.queue_units)
                rows, valid = all_gather(rows), all_gather(there).flatten()
            self._queue_of(key).enqueue(rows.flatten(0, 1), valid=valid)

    def _queue_of(self, key: Units) -> Queue:
        if key.view >= len(self.queues):
            raise ValueError(
                f'SwappedPrediction: view {key.view} assigns, but assign={len(self.queues)} makes queues '
                f'for the first {len(self.queues)} views; set assign={key.view + 1} or change pairs'
            )
        return self.queues[key.view]

    def _started(self) -> bool:
        return (self.clock or Clock()).reached(self.queue_start, 'epoch', 'SwappedPrediction.queue_start')
