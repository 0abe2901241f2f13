"""Self-distillation: predicting a momentum teacher's prototypes (DINO, iBOT, DINOv2, DINOv3)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from densecl.distributed import all_reduce
from densecl.messages import check_choice
from densecl.numerics import full_precision, no_autocast
from densecl.registry import MODELS
from densecl.schedule import Clock
from densecl.structures import Comparison, Units

from .assignment import (
    cross_entropy,
    entropy,
    groups_told_apart,
    log_shares,
    mean_shares,
    prediction,
    sinkhorn,
)
from .objective import MEANS, Objective, mean_of, own_mean
from .temperatures import positive_schedule


@torch.no_grad()
def sharpened(scores: Tensor, center: Tensor, temperature: float | Tensor) -> Tensor:
    """The teacher's target: ``softmax((scores - center) / temperature)``, without gradient."""
    return ((full_precision(scores) - center) / temperature).softmax(-1)


@no_autocast
def self_distillation(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    center: Tensor,
    student_temperature: float | Tensor,
    teacher_temperature: float | Tensor,
) -> Tensor:
    """Cross entropy of a student with a sharpened, centred teacher (DINO, Caron et al., 2021, eq. 1 and 3).

    The mean is over all pairs of a teacher crop and another student crop; a ValueError if there is no pair.

    Args:
        student: logits (B, K) for each crop; the teacher's crops come first.
        teacher: logits (B, K) for each of its crops; no gradient reaches them.
        center: (K,) or (1, K), subtracted from the teacher's logits.
        student_temperature, teacher_temperature: > 0.
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


@no_autocast
def masked_token_loss(student: Tensor, teacher: Tensor, masks: Tensor, temperature: float | Tensor) -> Tensor:
    """Cross entropy of masked tokens (iBOT, Zhou et al., 2022, eq. 3; DINOv2, Oquab et al., 2023).

    The mean is over the masked tokens of each crop, then over crops. A crop without masked tokens adds 0 and
    counts.

    Args:
        student: (M, K), logits of the M masked tokens, crop by crop in the order of ``masks``.
        teacher: (M, K), their targets, probabilities.
        masks: (B, L) bool, M of them true.
        temperature: t > 0 of the student; 0.1.

    Raises:
        ValueError: the numbers of rows and of masked tokens differ. (The number of masked tokens is checked
            on the CPU only: on another device, reading it would wait.)
    """
    masks = masks.bool()
    count = int(masks.sum()) if masks.device.type == 'cpu' else len(student)
    if not len(student) == len(teacher) == count:
        raise ValueError(
            f'masked_token_loss: {len(student)} rows of the student and {len(teacher)} of the teacher for '
            f'{count} masked tokens; pass one row of each for every True in masks'
        )
    if not len(student):
        return full_precision(student).sum()
    terms = cross_entropy(log_shares(student, temperature), full_precision(teacher))
    row = (masks.flatten().cumsum(0) - 1).clamp(min=0)  # row of each token; arbitrary if it is not masked
    return mean_of(terms[row].view_as(masks), masks, 'images')


@MODELS.register_module()
class SelfDistillation(Objective):
    """Cross entropy of a student with a centred, sharpened teacher (DINO, Caron et al., 2021, eq. 1 to 4).

    The centre is a moving average of the teacher's scores over all key views and the batch of all processes.
    It moves after it was used, as in the official code.

    With ``mean='counted'``, on a grid that both views show, it is the grouping loss of SlotCon (Wen et al.,
    2022, eq. 3). With ``mean='images'``, on masked tokens, it is the patch loss of iBOT (Zhou et al., 2022)
    and DINOv2 (Oquab et al., 2023).

    Args:
        prototypes: number K of prototypes.
        student_temperature: > 0, or a schedule.
        teacher_temperature: > 0, or a schedule such as ``dict(start=0.04, end=0.07, shape='linear',
            duration=30, unit='epoch', by_epoch=True)``. Above 0.07 most runs of DINO are unstable.
        center_momentum: share of the centre that is kept; 1 turns centring off.
        mean: ``'rows'``: over all units; ``'counted'``: over the counted units of all processes;
            ``'images'``: over the counted units of each image, then over images.
        centering: ``'softmax'``: the centre is subtracted before a softmax. ``'sinkhorn'``: Sinkhorn's
            algorithm at the teacher's temperature, over all key views and processes together (DINOv2,
            DINOv3); there is no centre.
        iterations: of Sinkhorn's algorithm.
        centered_over: which key units enter the centre or Sinkhorn's sums. ``'valid'``: the valid ones
            (DINOv2: masked tokens). ``'all'``: all (iBOT's centre: all tokens, masked or not).
    """

    needs = frozenset({'scores', 'one answer'})
    assigns = True

    def __init__(
        self,
        prototypes: int,
        student_temperature: float | dict = 0.1,
        teacher_temperature: float | dict = 0.04,
        center_momentum: float = 0.9,
        mean: str = 'rows',
        centering: str = 'softmax',
        iterations: int = 3,
        centered_over: str = 'valid',
    ) -> None:
        super().__init__()
        name = 'SelfDistillation: {}_temperature'.format
        self.student_temperature = positive_schedule(student_temperature, name('student'))
        self.teacher_temperature = positive_schedule(teacher_temperature, name('teacher'))
        if not 0 <= center_momentum <= 1:
            raise ValueError(f'SelfDistillation: center_momentum must be in [0, 1], got {center_momentum}')
        check_choice('SelfDistillation: centering', centering, ('softmax', 'sinkhorn'))
        check_choice('SelfDistillation: centered_over', centered_over, ('valid', 'all'))
        self.center_momentum, self.iterations = center_momentum, iterations
        self.mean = check_choice('SelfDistillation: mean', mean, MEANS)
        self.centering, self.centered_over = centering, centered_over
        self.keeps_keys = centering == 'softmax'  # it keeps the centre
        if centered_over == 'all':
            self.needs = self.needs | {'grid'}  # it needs all patches of a view, not only hidden ones
        self.register_buffer('center', torch.zeros(1, prototypes))
        self.clock: Clock | None = None

    def score(self, comparison):
        """The loss, and diagnostics of the targets of units that count; entropies are divided by ln K.

        ``teacher_entropy`` is the mean entropy of the targets, ``usage_entropy`` the entropy of their mean.
        If both are equal, all units have the same distribution: a uniform one near 1, a single prototype near
        0. ``groups`` is then 1, see :func:`~densecl.models.losses.assignment.groups_told_apart`.
        ``center_norm`` is the length of the centre, if there is one.
        """
        match, t = comparison.match, self.student_temperature(self.clock)
        targets, entropies = self.targets(comparison)
        answers, found = match.sum_of(targets), match.found()
        loss = mean_of(cross_entropy(prediction(self, comparison.query, t), answers), found, self.mean)
        mean = own_mean(match.sum_of(entropies).squeeze(-1), found)
        of_mean = entropy(mean_shares(answers, found))
        groups = groups_told_apart(of_mean, mean, answers.shape[-1])
        diagnostics = {'teacher_entropy': mean, 'usage_entropy': of_mean, 'groups': groups}
        if self.centering == 'softmax':
            diagnostics['center_norm'] = self.center.norm()
        return loss, diagnostics

    def targets(self, comparison: Comparison) -> tuple[Tensor, Tensor]:
        """The targets of the key view (B, N, K), and their entropies (B, N, 1); computed once a view."""
        key, name, t = comparison.key, f'targets {id(self)}', self.teacher_temperature(self.clock)
        if key.vectors.shape[-1] != self.center.shape[-1]:
            raise ValueError(
                f'SelfDistillation: prototypes={self.center.shape[-1]}, but the projector has '
                f'{key.vectors.shape[-1]}; give both the same number'
            )
        if self.centering == 'softmax':
            return key.once(name, lambda: _with_entropies(sharpened(key.vectors, self.center, t)))
        keys = comparison.keys_together()
        made = keys[0].once(name, lambda: [_with_entropies(x) for x in self.codes(keys, t)])
        return next(x for x, k in zip(made, keys, strict=True) if k is key)

    @torch.no_grad()
    def codes(self, keys: Sequence[Units], temperature: float | Tensor) -> list[Tensor]:
        """The Sinkhorn codes (B, N, K) of each key view, computed over all views and processes together."""
        valid = [self._counted(key) for key in keys]
        if all(x is None for x in valid):
            valid = None
        else:
            filled = [_filled(x, key.vectors) for x, key in zip(valid, keys, strict=True)]
            valid = torch.cat([x.flatten() for x in filled])
        rows = [key.vectors.flatten(0, 1) for key in keys]
        codes = sinkhorn(torch.cat(rows), temperature, self.iterations, across_ranks=True, valid=valid)
        parts = codes.split([len(x) for x in rows])
        return [part.view(key.vectors.shape) for part, key in zip(parts, keys, strict=True)]

    @torch.no_grad()
    def remember(self, keys, batch):
        """Move the centre to the mean over the units of all key views and processes, if there are any."""
        if self.centering != 'softmax':
            return
        sums = sum(_sum_and_count(key.vectors, self._counted(key)) for key in keys)
        total, count = all_reduce(sums).split([self.center.shape[-1], 1])
        mean = torch.where(count > 0, total / count.clamp(min=1), self.center)
        self.center.lerp_(mean.to(self.center.dtype), 1 - self.center_momentum)

    def _counted(self, key: Units) -> Tensor | None:
        """The units that enter the centre or Sinkhorn's sums, (B, N) bool; None: all."""
        return None if self.centered_over == 'all' else key.valid


def _sum_and_count(vectors: Tensor, valid: Tensor | None) -> Tensor:
    """The sum of the valid rows of ``vectors`` (B, N, K), and their number, as one tensor (K + 1,)."""
    vectors = full_precision(vectors)
    count = _filled(valid, vectors).sum()
    if valid is not None:
        vectors = torch.where(valid[..., None], vectors, 0.0)
    return torch.cat([vectors.sum((0, 1)), count.to(vectors.dtype)[None]])


def _filled(valid: Tensor | None, vectors: Tensor) -> Tensor:
    """``valid`` (B, N) bool for ``vectors`` (B, N, K); all true if it is None."""
    return torch.ones_like(vectors[..., 0], dtype=torch.bool) if valid is None else valid


def _with_entropies(targets: Tensor) -> tuple[Tensor, Tensor]:
    return targets, entropy(targets)[..., None]
