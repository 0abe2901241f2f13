"""What every kind of unit is: how it is read from a branch, projected, and put on record."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from densecl.structures import Place, Units, UnknownPlace, Views

if TYPE_CHECKING:
    from densecl.models.pretrainers import Branch

#: A set of units: the number of a view, or a kind of unit and the number of a view.
Set = int | tuple[str, int]


class NoLevelError(IndexError):
    """A level is asked for that backbone and neck do not return."""


class UnitProducer(nn.Module):
    """One kind of unit; it has no weights, those are the projector's and the predictor's.

    Most units are read view by view. A producer with several ``kinds`` has a set for each kind and view.

    Args:
        level: which level of the backbone (or neck) is read.
    """

    #: What its records hold, and rules and objectives may ask for.
    gives: ClassVar[frozenset[str]] = frozenset()
    #: Names of the kinds; none where there is only one.
    kinds: tuple[str, ...] = ()

    def __init__(self, level: int = -1) -> None:
        super().__init__()
        self.level = level

    def gives_of(self, kind: str | None) -> frozenset[str]:
        """What records of one kind hold."""
        return self.gives

    def views_of(self, chosen: Set) -> list[int]:
        """The views that a set is read from."""
        return [view_of(chosen)]

    def source(self, chosen: Set) -> Set:
        """What is projected for a set; two sets of one source share the pass."""
        return chosen

    def found(self, target: 'Branch', views: Views) -> Views:
        """The views with what the target finds in them, before any unit is read (CrIBo's objects)."""
        return views

    def frozen(self, projector: nn.Module) -> Sequence[nn.Parameter]:
        """Parameters that the coming optimiser step must leave alone; a projector may name some itself."""
        return projector.frozen_parameters() if hasattr(projector, 'frozen_parameters') else ()

    def inputs(self, branch: 'Branch', views: Views, source: Set) -> Tensor:
        """What the projector reads, (B, ...) or (B * N, ...); the level unless a kind of unit says else."""
        return branch[source][self.level]

    def project(self, projector: nn.Module, inputs: dict[Set, Tensor], joint: bool) -> dict[Set, Tensor]:
        """Project; inputs of one shape go together where ``joint``, with common batch statistics."""
        if not joint:
            return {key: projector(x) for key, x in inputs.items()}
        outputs = dict.fromkeys(inputs)
        for shape in dict.fromkeys(x.shape for x in inputs.values()):
            group = [key for key, x in inputs.items() if x.shape == shape]
            parts = projector(torch.cat([inputs[key] for key in group])).chunk(len(group))
            outputs.update(zip(group, parts, strict=True))
        return outputs

    def predict(self, predictor: nn.Module, projections: Tensor) -> Tensor:
        """The predictor on what :meth:`project` returned."""
        return predictor(projections)

    def predicts_late(self, chosen: Set) -> bool:
        """Whether the predictor sees the units that have an answer alone, once these are known (SlotCon)."""
        return False

    def remember(self, projector: nn.Module) -> None:
        """Let the projector take in what it has seen, once an optimiser step, in training only."""

    def record(
        self, chosen: Set, inputs: Tensor, projections: Tensor, predictions: Tensor | None, views: Views
    ) -> Units:
        """The units of a set."""
        raise NotImplementedError


def view_of(chosen: Set) -> int:
    """The number of a set's view."""
    return chosen if isinstance(chosen, int) else chosen[1]


def kind_of(chosen: Set) -> str | None:
    """The kind of a set, None where there is only one."""
    return None if isinstance(chosen, int) else chosen[0]


def pool(maps: Tensor) -> Tensor:
    """Global average pooling, (B, C, H, W) -> (B, C)."""
    return maps.mean((2, 3))


def _mean_there(vectors: Tensor, valid: Tensor | None) -> Tensor:
    """(B, N, D) -> (B, D), the mean of the units that are there; 0 without any."""
    if valid is None:
        return vectors.mean(1)
    valid = valid[..., None]
    return torch.where(valid, vectors, 0.0).sum(1) / valid.sum(1).clamp(min=1)


def cells(maps: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H*W, C), row by row."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2)


def record_of(
    projections: Tensor,
    predictions: Tensor | None,
    rows: Callable[[Tensor], Tensor],
    pooled: Callable[[Tensor], Tensor] | None = None,
    **fields,
) -> Units:
    """The record whose vectors are the ``rows`` of projections and of predictions, where there are any.

    ``pooled`` makes what stands for an image, of either; None: the mean of its rows that are there.
    """

    def both(x: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        if x is None:
            return None, None
        vectors = rows(x)
        return vectors, _mean_there(vectors, fields.get('valid')) if pooled is None else pooled(x)

    (vectors, whole), (predicted, whole_predicted) = both(projections), both(predictions)
    return Units(vectors, predicted, whole, whole_predicted, **fields)


def place_of(
    views: Views, view: int, grid: tuple[int, int] | None = None, boxes: Tensor | None = None
) -> Place | UnknownPlace:
    """Where the units of a view lie."""
    size = tuple(views.images[view].shape[-2:])
    if view in views.generated:
        return UnknownPlace(view, size, grid, boxes)
    frame = views.source_sizes.flip(1)
    return Place(views.boxes[view], views.flipped[view], frame, size, grid, boxes, views.warp(view))
