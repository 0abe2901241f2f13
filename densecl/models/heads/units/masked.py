"""Cells of a feature map that a mask hides from the online branch."""

from torch import Tensor, nn

from densecl.registry import MODELS
from densecl.structures import TokenMask, Views

from .base import UnitProducer, cells, kind_of, place_of, record_of, view_of
from .cells import Cells


@MODELS.register_module()
class MaskedCells(Cells):
    """Every cell of a level, as :class:`Cells`; only cells that the view's mask hides count (iBOT, DINOv2).

    The online branch predicts these cells without seeing them. The target sees them.

    Args:
        level: which level of the backbone (or neck) is read. It must have the grid of the mask.
        levels: name -> level, in place of ``level``. Each is a kind of unit; all share one projector (BEiT
            v2).
    """

    gives = frozenset({'grid', 'place', 'features', 'pooled', 'several'})

    def __init__(self, level: int = -1, levels: dict[str, int] | None = None) -> None:
        super().__init__(level)
        self.levels = {None: level} if levels is None else dict(levels)
        self.kinds = () if levels is None else tuple(levels)

    def inputs(self, branch, views, source):
        return branch[view_of(source)][self.levels[kind_of(source)]]

    def record(self, chosen, inputs, projections, predictions, views):
        view = view_of(chosen)
        units = super().record(view, inputs, projections, predictions, views)
        units.valid = hidden_cells(views, view, projections)
        return units


@MODELS.register_module()
class DecodedCells(UnitProducer):
    """The predictions of a decoder for every patch of a view; only hidden patches count (MAE, SparK).

    The projector is a decoder. It gets all levels of the view and its :class:`~densecl.structures.TokenMask`.
    It returns a map (B, D, h, w), one cell for each patch of the mask. The keys are not decoded: they are a
    level of the head's ``target``, such as :class:`~densecl.models.targets.Pixels`.

    Args:
        level: which level of the target is read.
    """

    gives = frozenset({'grid', 'place', 'several'})

    def inputs(self, branch, views, source):
        mask = mask_of(views, source)  # before anything is encoded
        return branch[source], mask

    def project(self, projector: nn.Module, inputs, joint):
        if isinstance(projector, nn.Identity):  # the target's own
            return {key: levels[self.level] for key, (levels, _) in inputs.items()}
        return {key: projector(levels, mask) for key, (levels, mask) in inputs.items()}

    def record(self, chosen, inputs, projections, predictions, views):
        place = place_of(views, chosen, grid=tuple(projections.shape[2:]))
        hidden = hidden_cells(views, chosen, projections)
        return record_of(projections, predictions, cells, place=place, valid=hidden)


@MODELS.register_module()
class AskedCells(DecodedCells):
    """Predictions for the n hidden patches that ``mask.asked`` names (CAPI); the keys are all patches.

    The projector gets all levels of the view and its :class:`~densecl.structures.TokenMask`. It returns
    (B, n, D), one row for each of ``mask.asked_places()``.

    Args:
        level: which level of the target is read.
    """

    gives = frozenset({'several'})

    def record(self, chosen, inputs, projections, predictions, views):
        if projections.ndim == 4:  # the target's
            return super().record(chosen, inputs, projections, predictions, views)
        asked = mask_of(views, chosen).asked_places()
        return record_of(projections, predictions, lambda x: x, cells=asked)


def mask_of(views: Views, view: int) -> TokenMask:
    """The mask of a view.

    Raises:
        ValueError: the view has no mask.
    """
    mask = views.mask(view)
    if mask is None:
        raise ValueError(
            f'view {view} has no mask: give its recipe one, such as '
            "mask=dict(type='RandomMask', patch=16, ratio=0.75)"
        )
    return mask


def hidden_cells(views: Views, view: int, maps: Tensor) -> Tensor:
    """Which cells of ``maps`` (B, C, h, w) the mask of a view hides, (B, N) bool.

    Raises:
        ValueError: the view has no mask, or the mask has another grid than the maps.
    """
    hidden = mask_of(views, view).hidden
    if hidden.shape[1:] != maps.shape[2:]:
        grids = [' x '.join(map(str, x.shape[-2:])) for x in (hidden, maps)]
        raise ValueError(
            f'view {view}: the mask has {grids[0]} patches, the map of the units {grids[1]} cells; '
            "set the mask's patch to the stride of that map"
        )
    return hidden.flatten(1)
