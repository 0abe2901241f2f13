"""Predicting another view's assignment to prototypes: SwAV's codes, DINO's sharpened softmax."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from densecl.distributed import all_gather, rank, world_size
from densecl.models.memory import Queue
from densecl.numerics import full_precision, no_autocast
from densecl.registry import MODELS
from densecl.schedule import Clock
from densecl.structures import Units

from .objective import Objective, check_mean, mean_of, own_mean
from .temperatures import positive_schedule


def log_shares(scores: Tensor, temperature: float | Tensor) -> Tensor:
    """The student's prediction: ``log softmax(scores / temperature)``."""
    return (full_precision(scores) / temperature).log_softmax(-1)


@torch.no_grad()
def sharpened(scores: Tensor, center: Tensor, temperature: float | Tensor) -> Tensor:
    """The teacher's target: ``softmax((scores - center) / temperature)``, without gradient."""
    return ((full_precision(scores) - center) / temperature).softmax(-1)


def cross_entropy(log_prediction: Tensor, target: Tensor) -> Tensor:
    """``-sum_k target_k * prediction_k`` of the last dimension, (..., K) -> (...)."""
    return -(target * log_prediction).sum(-1)


@torch.no_grad()
@no_autocast
def sinkhorn(scores: Tensor, epsilon: float, iterations: int, across_ranks: bool = False) -> Tensor:
    """Codes of equal use (SwAV, Caron et al., 2020, section 3.1, after Cuturi, 2013).

    Rows and columns of ``exp(scores / epsilon)`` are scaled in turn until every prototype gets about the
    same mass; the samples' step comes last, so only their sums are exact. In the log domain (the constants
    1/K and 1/B cancel) no epsilon overflows or leaves a prototype empty.

    Args:
        scores: (B, K), cosines of samples and prototypes; of all processes together where ``across_ranks``.
        epsilon: > 0, smoothness; 0.05.
        iterations: >= 1, else a ValueError; 3.
    """
    if iterations < 1:
        raise ValueError(f'sinkhorn: iterations must be at least 1, got {iterations}')
    log_codes = full_precision(scores) / epsilon
    for _ in range(iterations):
        mass = log_codes.logsumexp(0, keepdim=True)  # of each prototype, (1, K)
        if across_ranks:
            mass = all_gather(mass).logsumexp(0, keepdim=True)
        log_codes = (log_codes - mass).log_softmax(1)
    return log_codes.exp()


@no_autocast
def swapped_prediction(
    scores1: Tensor, scores2: Tensor, codes1: Tensor, codes2: Tensor, temperature: float | Tensor
) -> Tensor:
    """Each view's (B, K) scores predict the other's code of :func:`sinkhorn` (SwAV, eq. 1, 2); the mean."""
    pairs = ((scores1, codes2), (scores2, codes1))
    terms = [cross_entropy(log_shares(x, temperature), full_precision(codes)) for x, codes in pairs]
    return torch.stack(terms).mean()


@no_autocast
def self_distillation(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    center: Tensor,
    student_temperature: float | Tensor,
    teacher_temperature: float | Tensor,
) -> Tensor:
    """Cross entropy of a sharpened, centred teacher and a student (DINO, Caron et al., 2021, eq. 1 and 3),
    mean over all pairs of a teacher crop and another student crop; a ValueError where there is none.

    Args:
        student: one (B, K) of logits a crop, those of the teacher's crops first.
        teacher: one (B, K) of logits a crop; no gradient reaches them.
        center: (K,) or (1, K), subtracted from the teacher's logits.
        student_temperature: > 0, as ``teacher_temperature``.
    """
    predictions = [log_shares(scores, student_temperature) for scores in student]
    targets = [sharpened(scores, center, teacher_temperature) for scores in teacher]
    terms = [
        cross_entropy(prediction, target).mean()
        for i, target in enumerate(targets)
        for v, prediction in enumerate(predictions)
        if v != i
    ]
    if not terms:
        raise ValueError(
            f'no crop has another one to predict: got {len(student)} student and {len(teacher)} teacher crops'
        )
    return torch.stack(terms).mean()


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy of the last dimension as a share of ln K, (..., K) -> (...), in [0, 1]."""
    return torch.special.entr(probabilities).sum(-1) / math.log(probabilities.shape[-1])


def prediction(objective: Objective, query: Units, temperature: float) -> Tensor:
    """(B, N, K) logarithms of the query view's shares, made once for all pairs that it takes part in."""
    return query.once(f'prediction {id(objective)}', lambda: log_shares(query.compared, temperature))


@MODELS.register_module()
class SwappedPrediction(Objective):
    """SwAV (Caron et al., 2020): Sinkhorn codes of a key view, predicted from every other view.

    The codes share the prototypes out evenly over the batch of all processes. Where that batch is small,
    a queue of earlier embeddings joins it, with scores of the present prototypes (section 3.1). All
    processes hold the same queue, and each brings a part of it to the common Sinkhorn step.

    Args:
        temperature: t > 0 of the prediction, or a schedule.
        epsilon: > 0, smoothness of the codes; for a loss stuck at ln K the official advice is 0.03.
        iterations: of Sinkhorn's algorithm.
        queue: embeddings to keep for each assigning view; 0 for none.
        dim: width C of an embedding in the queue.
        queue_start: epoch in which the queue begins to fill. It serves as soon as it is full.
        assign: number of assigning views, the first ones, for each of which there is a queue.
    """

    needs = frozenset({'scores', 'embeddings', 'one answer'})

    def __init__(
        self,
        temperature: float | dict = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        queue: int = 0,
        dim: int = 128,
        queue_start: float = 15,
        assign: int = 2,
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
        self.queue_start = queue_start
        self.clock: Clock | None = None

    def score(self, comparison):
        """The mean over the units, ln K where all is guessing.

        Of the key view, as shares of ln K: ``code_entropy``, the mean over its units (1 is collapse: all
        images are alike), and ``usage_entropy``, of its mean prediction.
        """
        key, match, t = comparison.key, comparison.match, self.temperature(self.clock)
        codes, diagnostics = key.once(f'codes {id(self)}', lambda: self.codes(key, comparison.projector, t))
        terms = cross_entropy(prediction(self, comparison.query, t), match.sum_of(codes))
        return mean_of(terms, match.found(), 'rows'), diagnostics

    @torch.no_grad()
    def codes(self, key: Units, projector: nn.Module, temperature: float) -> tuple[Tensor, dict[str, Tensor]]:
        """(B, N, K) codes of a key view, and how they are spread."""
        everything = rows = full_precision(key.vectors).flatten(0, 1)
        if self.queues and self._started() and self.queues[0].is_full():
            earlier = projector.prototypes(self._queue_of(key).keys[rank() :: world_size()])
            everything = torch.cat([full_precision(earlier), rows])
        codes = sinkhorn(everything, self.epsilon, self.iterations, across_ranks=True)[-len(rows) :]
        usage = (rows / temperature).softmax(-1).mean(0)
        diagnostics = {'code_entropy': entropy(codes).mean(), 'usage_entropy': entropy(usage)}
        return codes.view(key.vectors.shape), diagnostics

    @property
    def sends(self) -> tuple[str, ...]:
        return ('embeddings',) if self.queues and self._started() else ()

    @torch.no_grad()
    def remember(self, keys, batch):
        if self.sends:
            for key in keys:
                self._queue_of(key).enqueue(key.of_all('embeddings').flatten(0, 1))

    def _queue_of(self, key: Units) -> Queue:
        if key.view >= len(self.queues):
            raise ValueError(
                f'SwappedPrediction: view {key.view} assigns, but assign={len(self.queues)} makes queues '
                f'for the first {len(self.queues)} views; set assign={key.view + 1} or change pairs'
            )
        return self.queues[key.view]

    def _started(self) -> bool:
        clock, name = self.clock or Clock(), 'SwappedPrediction.queue_start'
        return not self.queue_start or clock.step >= clock.steps(self.queue_start, 'epoch', name)


@MODELS.register_module()
class SelfDistillation(Objective):
    """Cross entropy of a centred, sharpened teacher and a student (DINO, Caron et al., 2021, eq. 1 to 4).

    The centre is the moving average of the teacher's scores over key views and the batch of all processes.
    It moves after it was used, as in the official code. With ``'counted'`` it is the grouping of SlotCon (Wen
    et al., 2022, eq. 3), on a grid that both views show.

    Args:
        prototypes: number of prototypes K.
        student_temperature: > 0, or a schedule.
        teacher_temperature: > 0, or a schedule such as ``dict(start=0.04, end=0.07, shape='linear',
            duration=30, unit='epoch', by_epoch=True)``; above 0.07 most runs of DINO are unstable.
        center_momentum: share of the centre that is kept; 1 turns centring off.
        mean: ``'rows'``, over all units; ``'counted'``, over the units of all processes that count.
    """

    needs = frozenset({'scores', 'one answer'})

    def __init__(
        self,
        prototypes: int,
        student_temperature: float | dict = 0.1,
        teacher_temperature: float | dict = 0.04,
        center_momentum: float = 0.9,
        mean: str = 'rows',
    ) -> None:
        super().__init__()
        name = 'SelfDistillation: {}_temperature'.format
        self.student_temperature = positive_schedule(student_temperature, name('student'))
        self.teacher_temperature = positive_schedule(teacher_temperature, name('teacher'))
        if not 0 <= center_momentum <= 1:
            raise ValueError(f'SelfDistillation: center_momentum must be in [0, 1], got {center_momentum}')
        self.center_momentum = center_momentum
        self.mean = check_mean(mean, 'SelfDistillation', ('rows', 'counted'))
        self.register_buffer('center', torch.zeros(1, prototypes))
        self.clock: Clock | None = None

    def score(self, comparison):
        """The loss, and of the targets of what counts, as shares of ln K: ``teacher_entropy``, mean over the
        units, and ``usage_entropy``, of their mean; where the two meet, all units get one distribution (the
        uniform one near 1, a single prototype near 0). And ``center_norm``.
        """
        key, match, t = comparison.key, comparison.match, self.student_temperature(self.clock)
        targets, spread = key.once(f'targets {id(self)}', lambda: self.targets(key))
        answers, found = match.sum_of(targets), match.found()
        loss = mean_of(cross_entropy(prediction(self, comparison.query, t), answers), found, self.mean)
        usage = torch.where(found[..., None], answers, 0.0).sum((0, 1)) / found.sum().clamp(min=1)
        return loss, {
            'teacher_entropy': own_mean(match.sum_of(spread).squeeze(-1), found),
            'usage_entropy': entropy(usage),
            'center_norm': self.center.norm(),
        }

    def targets(self, key: Units) -> tuple[Tensor, Tensor]:
        """(B, N, K) targets of a key view, and (B, N, 1) their entropies."""
        if key.vectors.shape[-1] != self.center.shape[-1]:
            raise ValueError(
                f'SelfDistillation: prototypes={self.center.shape[-1]}, but the projector has '
                f'{key.vectors.shape[-1]}; give both the same number'
            )
        targets = sharpened(key.vectors, self.center, self.teacher_temperature(self.clock))
        return targets, entropy(targets)[..., None]

    @torch.no_grad()
    def remember(self, keys, batch):
        """Move the centre by the mean of all key views."""
        means = [full_precision(key.vectors).flatten(0, 1).mean(0) for key in keys]
        mean = all_gather(torch.stack(means).mean(0, keepdim=True)).mean(0, keepdim=True)
        self.center.lerp_(mean.to(self.center.dtype), 1 - self.center_momentum)
