"""SlotCon's objective: cells agree on their slot, and slots are told apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from densecl.distributed import all_gather, rank
from densecl.registry import MODELS
from densecl.schedule import Clock, Schedule

from .assignments import entropy
from .functional import (
    active_slots,
    full_precision,
    grouping_consistency,
    grouping_targets,
    slot_contrast,
)
from .labelled import labelled_mean, own_mean


@dataclass
class Slots:
    """The slots of a batch of views.

    Attributes:
        vectors: (B, K, C), the mean of the cells of each slot.
        scores: (B, K, H, W), cosines of slots and cells.
        active: (B, K) bool, slots that win at least one cell of the whole view.
        aligned: (B, K, h, w), the scores on a grid over the part of the image that the other view shows too.
    """

    vectors: Tensor
    scores: Tensor
    active: Tensor
    aligned: Tensor

    @classmethod
    def of(cls, vectors: Tensor, scores: Tensor, aligned: Tensor) -> 'Slots':
        """With the active slots that the scores imply."""
        return cls(vectors, scores, active_slots(scores), aligned)


@MODELS.register_module()
class SlotContrast(nn.Module):
    """``w * grouping + (1 - w) * contrast`` (SlotCon, Wen et al., 2022, eq. 3, 6 and 7).

    Both terms are means over all processes, of images and of slots, whatever share of them a process has:
    several processes give what one would. (The official code averages the means of the processes.) The
    centre is the moving average of the teacher's scores over views and the batches of all processes;
    :meth:`move_center` is for after both directions were scored.

    Args:
        slots: K, of the projector.
        student_temperature: of the predicted assignments, > 0, or a schedule.
        teacher_temperature: of the targets, likewise.
        temperature: of the contrast of slots, likewise.
        group_weight: w in [0, 1], the share of the grouping term.
        center_momentum: share of the centre that is kept; 1 turns centring off.

    Raises:
        ValueError: a number is out of its range.
    """

    def __init__(
        self,
        slots: int,
        student_temperature: float | dict = 0.1,
        teacher_temperature: float | dict = 0.07,
        temperature: float | dict = 0.2,
        group_weight: float = 0.5,
        center_momentum: float = 0.9,
    ) -> None:
        super().__init__()
        self.student_temperature = _temperature(student_temperature, 'student_temperature')
        self.teacher_temperature = _temperature(teacher_temperature, 'teacher_temperature')
        self.temperature = _temperature(temperature, 'temperature')
        for name, value in dict(group_weight=group_weight, center_momentum=center_momentum).items():
            if not 0 <= value <= 1:
                raise ValueError(f'SlotContrast: {name} must be in [0, 1], got {value}')
        self.group_weight = group_weight
        self.center_momentum = center_momentum
        self.register_buffer('center', torch.zeros(1, slots))
        self.clock: Clock | None = None

    def forward(
        self, student: Slots, teacher: Slots, overlapping: Tensor, predict: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Score one direction.

        Args:
            student: slots of one view, with gradient.
            teacher: slots of the other, without.
            overlapping: (B,) bool, images whose two views share a part; the others are left out.
            predict: (N, C) -> (N, C), from the student's slots to the teacher's.

        Returns:
            The scalar loss, and diagnostics without gradient: ``grouping`` and ``contrast``, the two terms;
            ``occupancy``, the share of the K slots that win a cell somewhere in the teacher's views of
            all processes, ``active``, their mean number in a view, and ``common``, of those that are
            contrasted; ``cell_entropy``, of a cell's target, and ``usage_entropy``, of the mean of all
            targets, as shares of ln K (where they meet, every cell has the same target); ``no_overlap``,
            how many images were left out.
        """
        if teacher.scores.shape[1] != self.center.shape[1]:
            raise ValueError(
                f'SlotContrast: slots={self.center.shape[1]}, but the projector has '
                f'{teacher.scores.shape[1]}; give both the same number'
            )
        targets = grouping_targets(
            teacher.aligned, self.center, self.teacher_temperature(self.clock)
        )
        terms = grouping_consistency(student.aligned, targets, self.student_temperature(self.clock))
        grouping = labelled_mean(terms, overlapping)
        common = student.active & teacher.active & overlapping[:, None]
        contrast = self._contrast(student, teacher, common, predict)
        loss = self.group_weight * grouping + (1 - self.group_weight) * contrast
        diagnostics = {'grouping': grouping.detach(), 'contrast': contrast.detach()}
        return loss, diagnostics | _spread(targets, teacher.active, common, overlapping)

    def _contrast(
        self, student: Slots, teacher: Slots, common: Tensor, predict: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """InfoNCE of the common slots; 0, with a gradient of zeros, where no image has any."""
        rows = common.flatten().nonzero().squeeze(1)
        counted = torch.ones_like(rows, dtype=torch.bool)
        missing = 2 - len(rows)
        if missing > 0:
            # Batch norm needs two rows, and other processes wait for this one's gradients: the first slots
            # go along, with weight 0.
            rows = torch.cat([rows, torch.arange(missing, device=rows.device)])
            counted = torch.cat([counted, counted.new_zeros(missing)])
        keys, positions = _of_all_ranks(teacher.vectors, teacher.active)
        predictions = predict(student.vectors.flatten(0, 1)[rows])
        temperature = self.temperature(self.clock)
        terms = slot_contrast(predictions, keys, positions.flatten()[rows], temperature)
        return labelled_mean(terms, counted)

    @torch.no_grad()
    def move_center(self, scores: Sequence[Tensor]) -> None:
        """Take the teacher's (B, K, H, W) scores of its views, and those of other ranks, into the centre."""
        mean = torch.stack([full_precision(s).mean((0, 2, 3)) for s in scores]).mean(0, keepdim=True)
        mean = all_gather(mean).mean(0, keepdim=True)
        self.center.lerp_(mean.to(self.center.dtype), 1 - self.center_momentum)


@torch.no_grad()
def _of_all_ranks(vectors: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
    """The active slots of all processes, and where this process's are among them.

    Only active slots travel, padded to the largest number a rank has.

    Args:
        vectors: (B, K, C).
        active: (B, K) bool; each image has at least one.

    Returns:
        (M, C) in rank order, and (B, K) int64 rows of it, a valid but meaningless row for inactive slots.
    """
    mine = vectors[active]
    counts = all_gather(torch.tensor([len(mine)], device=vectors.device))  # (ranks,)
    padded = mine.new_zeros(int(counts.max()), mine.shape[1])
    padded[: len(mine)] = mine
    everyone = all_gather(padded).unflatten(0, (len(counts), -1))  # (ranks, max, C)
    filled = torch.arange(len(padded), device=counts.device) < counts[:, None]
    place = active.flatten().cumsum(0).sub(1).clamp(min=0).view_as(active)
    return everyone[filled], place + counts[: rank()].sum()


@torch.no_grad()
def _spread(
    targets: Tensor, active: Tensor, common: Tensor, overlapping: Tensor
) -> dict[str, Tensor]:
    """How the teacher's assignments are spread; entropies over images that count."""
    cells = entropy(targets.permute(0, 2, 3, 1)).mean((1, 2))  # (B,)
    share = overlapping.to(targets.dtype)[:, None] / overlapping.sum().clamp(min=1)
    return {
        'occupancy': all_gather(active.any(0, keepdim=True).float()).amax(0).mean(),
        'active': active.float().sum(1).mean(),
        'common': common.float().sum(1).mean(),
        'cell_entropy': own_mean(cells, overlapping),
        'usage_entropy': entropy((targets.mean((2, 3)) * share).sum(0)),
        'no_overlap': (~overlapping).float().sum(),
    }


def _temperature(value: float | dict, name: str) -> Schedule:
    schedule = Schedule.of(value, f'SlotContrast.{name}')
    if min(schedule.values) <= 0 or (schedule.warmup and schedule.warmup_start <= 0):
        raise ValueError(f'SlotContrast: {name} must be > 0, got {value!r}')
    return schedule
