"""The base class of units: how they are read from a branch, projected, and written into a record."""

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
    """The requested level is not among those that backbone and neck return."""


class UnitProducer(nn.Module):
    """Makes the units of one type. It has no weights: these are in the projector and the predictor.

    Most units are read view by view. A producer with several ``kinds`` has one set for each kind and view.

    Args:
        level: which level of the backbone (or neck) is read.
    """

    #: Properties of its records, which rules and objectives may need.
    gives: ClassVar[frozenset[str]] = frozenset()
    #: Names of the kinds; empty if there is only one.
    kinds: tuple[str, ...] = ()

    def __init__(self, level: int = -1) -> None:
        super().__init__()
        self.level = level

    def gives_of(self, kind: str | None) -> frozenset[str]:
        """Properties of the records of one kind; ``'equal count'``: as many units in every process."""
        return self.gives | {'equal count'}

    def views_of(self, chosen: Set) -> list[int]:
        """The views that a set is read from."""
        return [view_of(chosen)]

    def source(self, chosen: Set) -> Set:
        """The source of a set: what is projected for it. Sets with the same source share one pass."""
        return chosen

    def found(self, target: 'Branch', views: Views) -> Views:
        """The views, with regions that the target finds in them (CrIBo's objects). Called before any unit is
        read."""
        return views

    def frozen(self, projector: nn.Module) -> Sequence[nn.Parameter]:
        """Parameters that the next optimiser step must not change; a projector may name some itself."""
        return projector.frozen_parameters() if hasattr(projector, 'frozen_parameters') else ()

    def inputs(self, branch: 'Branch', views: Views, source: Set) -> Tensor:
        """The input of the projector, (B, ...) or (B * N, ...). By default it is the level."""
        return branch[source][self.level]

    def project(self, projector: nn.Module, inputs: dict[Set, Tensor], joint: bool) -> dict[Set, Tensor]:
        """Project. If ``joint``, inputs of the same shape share one pass, with common batch statistics."""
        if not joint:
            return {key: projector(x) for key, x in inputs.items()}
        outputs = dict.fromkeys(inputs)
        for shape in dict.fromkeys(x.shape for x in inputs.values()):
            group = [key for key, x in inputs.items() if x.shape == shape]
            parts = projector(torch.cat([inputs[key] for key in group])).chunk(len(group))
            outputs.update(zip(group, parts, strict=True))
        return outputs

    def predict(self, predictor: nn.Module, projections: Tensor) -> Tensor:
        """Apply the predictor to what :meth:`project` returned."""
        return predictor(projections)

    def predicts_late(self, chosen: Set) -> bool:
        """Whether the predictor runs after matching and counts only units with an answer (SlotCon)."""
        return False

    def remember(self, projector: nn.Module) -> None:
        """Let the projector store what it saw; called once an optimiser step, in training only."""

    def record(
        self, chosen: Set, inputs: Tensor, projections: Tensor, predictions: Tensor | None, views: Views
    ) -> Units:
        """Make the record of a set's units."""
        raise NotImplementedError


def view_of(chosen: Set) -> int:
    """The number of the view of a set."""
    return chosen if isinstance(chosen, int) else chosen[1]


def kind_of(chosen: Set) -> str | None:
    """The kind of a set, None if there is only one kind."""
    return None if isinstance(chosen, int) else chosen[0]


def pool(maps: Tensor) -> Tensor:
    """Global average pooling, (B, C, H, W) -> (B, C)."""
    return maps.mean((2, 3))


def _mean_there(vectors: Tensor, valid: Tensor | None) -> Tensor:
    """The mean of the valid units of each image, (B, N, D) -> (B, D); 0 if there are none."""
    if valid is None:
        return vectors.mean(1)
    valid = valid[..., None]
    return torch.where(valid, vectors, 0.0).sum(1) / valid.sum(1).clamp(min=1)


def cells(maps: Tensor) -> Tensor:
    """The cells of a map as rows, (B, C, H, W) -> (B, H*W, C), in row-major order."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2)


def record_of(
    projections: Tensor,
    predictions: Tensor | None,
    rows: Callable[[Tensor], Tensor],
    pooled: Callable[[Tensor], Tensor] | None = None,
    **fields,
) -> Units:
    """Make a record from projections and, if given, predictions.

    ``rows`` turns either of them into vectors (B, N, D). ``pooled`` turns either into one vector an image,
    (B, D); None: the mean of the image's valid rows.
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
