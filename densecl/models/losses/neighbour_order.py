"""The student learns the order of a unit's neighbours from the teacher, by differentiable sorting (NeCo)."""

import torch
from torch import Tensor

from densecl.messages import check_choice
from densecl.numerics import no_autocast, unit
from densecl.registry import MODELS
from densecl.structures import Comparison

from .objective import MEANS, Objective, mean_of
from .sorting import bitonic_network, soft_order


@no_autocast
def order_terms(
    student: Tensor,
    teacher: Tensor,
    reference: Tensor,
    network: tuple[Tensor, Tensor],
    student_steepness: float,
    teacher_steepness: float,
) -> Tensor:
    """Cross entropy between the orders of references, sorted by their cosine with a unit of either side.

    Args:
        student, teacher: (B, N, D), row i the same unit on both sides.
        reference: (B, n, D), n references an image; they get no gradient.
        network: for n numbers, see :func:`~densecl.models.losses.sorting.bitonic_network`.
        student_steepness, teacher_steepness: > 0, see :func:`~densecl.models.losses.sorting.soft_order`.

    Returns:
        (B, N), mean over the references; no gradient reaches teacher and references.
    """
    reference = unit(reference.detach())
    with torch.no_grad():
        answers = soft_order(unit(teacher) @ reference.mT, network, teacher_steepness)
    places = soft_order(unit(student) @ reference.mT, network, student_steepness)
    tiny = torch.finfo(places.dtype).tiny
    return -(answers * places.clamp(min=tiny).log()).sum(-1).mean(-1)


@MODELS.register_module()
class NeighbourOrder(Objective):
    """A unit learns to order its neighbours as its answer does (NeCo, Pariza et al., ICLR 2025).

    The neighbours are ``count`` answers from the whole batch of this process, a new random choice for each
    image and pair. They are sorted softly by their cosine with the student and by that with the answer. The
    two orders are compared by cross entropy. A unit without an answer adds 0. With
    ``matching=dict(type='SharedGrid', size=7, samples=2)`` both views are interpolated at the same places.

    Args:
        count: number n of neighbours that are sorted; 49. Memory grows as n^2 (log n)^2 for each unit.
        student_steepness, teacher_steepness: of the soft order; 100.
        mean: see :func:`~densecl.models.losses.objective.mean_of`.
    """

    needs = frozenset({'several', 'one answer'})

    def __init__(
        self,
        count: int = 49,
        student_steepness: float = 100.0,
        teacher_steepness: float = 100.0,
        mean: str = 'counted',
    ) -> None:
        super().__init__()
        if count < 2:
            raise ValueError(f'NeighbourOrder: count must be 2 or more neighbours to sort, got {count}')
        for name, value in (('student', student_steepness), ('teacher', teacher_steepness)):
            if value <= 0:
                raise ValueError(f'NeighbourOrder: {name}_steepness must be > 0, got {value}')
        self.count, self.mean = count, check_choice('NeighbourOrder: mean', mean, MEANS)
        self.student_steepness, self.teacher_steepness = student_steepness, teacher_steepness
        for name, table in zip(('partners', 'signs'), bitonic_network(count), strict=True):
            self.register_buffer(name, table.clone(), persistent=False)

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss: ln(count) if every order is equally likely, more if the student's order is wrong."""
        match = comparison.match
        answers, found = match.sum_of(comparison.key.vectors), match.found()
        terms = order_terms(
            comparison.query.compared,
            answers,
            self.references(answers, found),
            (self.partners, self.signs),
            self.student_steepness,
            self.teacher_steepness,
        )
        return mean_of(terms, found, self.mean), {}

    @torch.no_grad()
    def references(self, answers: Tensor, found: Tensor) -> Tensor:
        """Draw references (B, count, D) at random from the ``found`` ones of ``answers`` (B, N, D).

        If there are too few, they repeat.
        """
        rows, counted = answers.flatten(0, 1), found.flatten()
        order = (torch.rand(len(rows), device=rows.device) + 2.0 * ~counted).argsort()
        wanted = torch.arange(self.count * len(found), device=rows.device)
        return rows[order[wanted % counted.sum().clamp(min=1)]].unflatten(0, (len(found), -1))
