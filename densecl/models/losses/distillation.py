"""DINO's objective: the student's crops predict the teacher's centred, sharpened ones."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from densecl.distributed import all_gather
from densecl.registry import MODELS
from densecl.schedule import Clock, Schedule

from .assignments import entropy, mean_entropy
from .functional import full_precision, self_distillation


@MODELS.register_module()
class SelfDistillation(nn.Module):
    """DINO (Caron et al., 2021, eq. 1 to 4): cross entropy of teacher and student over other crops.

    The centre is the moving average of the teacher's logits over crops and the batch of all
    processes. It moves after it was used, as in the official code, and is the same in every process.

    Args:
        prototypes: number of prototypes K.
        student_temperature: > 0, or a schedule.
        teacher_temperature: > 0, or a schedule such as ``dict(start=0.04, end=0.07, shape='linear',
            duration=30, unit='epoch', by_epoch=True)``; above 0.07 most runs are unstable.
        center_momentum: share of the centre that is kept; 1 turns centring off.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        prototypes: int,
        student_temperature: float | dict = 0.1,
        teacher_temperature: float | dict = 0.04,
        center_momentum: float = 0.9,
    ) -> None:
        super().__init__()
        self.student_temperature = _temperature(student_temperature, 'student_temperature')
        self.teacher_temperature = _temperature(teacher_temperature, 'teacher_temperature')
        if not 0 <= center_momentum <= 1:
            raise ValueError(
                f'SelfDistillation: center_momentum must be in [0, 1], got {center_momentum}'
            )
        self.center_momentum = center_momentum
        self.register_buffer('center', torch.zeros(1, prototypes))
        self.clock: Clock | None = None

    def forward(
        self,
        students: Sequence[Tensor],
        teachers: Sequence[Tensor],
        embeddings: Sequence[Tensor] = (),
        prototypes: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Score the student, then move the centre.

        Args:
            students: (B, K) scores of every crop, those of the teacher's crops first.
            teachers: (B, K) scores of the teacher's crops.
            embeddings: not used.
            prototypes: not used.

        Returns:
            The scalar loss, and diagnostics without gradient: ``teacher_entropy``, mean over the
            teacher's crops, and ``usage_entropy``, of the mean of its distributions, both as shares of ln K,
            and ``center_norm``. Where the two entropies meet, all images get the same distribution: the
            uniform one near 1, a single prototype near 0.
        """
        if teachers[0].shape[-1] != self.center.shape[-1]:
            raise ValueError(
                f'SelfDistillation: prototypes={self.center.shape[-1]}, but the projector has '
                f'{teachers[0].shape[-1]}; give both the same number'
            )
        temperature = self.teacher_temperature(self.clock)
        loss = self_distillation(
            students, teachers, self.center, self.student_temperature(self.clock), temperature
        )
        logits = full_precision(torch.cat([t.detach() for t in teachers]))
        targets = ((logits - self.center) / temperature).softmax(-1)
        diagnostics = {
            'teacher_entropy': mean_entropy(targets),
            'usage_entropy': entropy(targets.mean(0)),
            'center_norm': self.center.norm(),
        }
        if self.training:
            self.move_center(logits)
        return loss, diagnostics

    @torch.no_grad()
    def move_center(self, logits: Tensor) -> None:
        """Take the teacher's (N, K) logits of this process, and those of the others, into the centre."""
        mean = all_gather(logits.mean(0, keepdim=True)).mean(0, keepdim=True)
        self.center.lerp_(mean.to(self.center.dtype), 1 - self.center_momentum)


def _temperature(value: float | dict, name: str) -> Schedule:
    schedule = Schedule.of(value, f'SelfDistillation.{name}')
    if min(schedule.values) <= 0:
        raise ValueError(f'SelfDistillation: {name} must be > 0, got {value!r}')
    return schedule
