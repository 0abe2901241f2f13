"""The regions that ``MultiView`` chose, as one view of a batch shows them."""

from torch import Tensor

from densecl.structures import ViewRegions, Views


def regions_of(views: Views, name: str, view: int, selector: str) -> ViewRegions:
    """The regions ``name`` of a view. The error message suggests ``selector`` to make them.

    Raises:
        ValueError: the view has no regions of this name.
    """
    found = (views.regions or {}).get(name)
    if found is None or found[view] is None:
        raise ValueError(
            f'view {view} has no regions {name!r}; give MultiView '
            f'regions=dict({name}=dict(type={selector!r}, ...)); it has {sorted(views.regions or {})}'
        )
    return found[view]


def masks_of(found: ViewRegions, name: str, view: int, grid: tuple[int, int], selector: str) -> Tensor:
    """The masks of a view's regions, (B, K, h, w), on the ``grid`` of the level that is read.

    Raises:
        ValueError: the regions have no masks, or the masks have another grid.
    """
    if found.masks is None:
        raise ValueError(
            f'of view {view} the regions {name!r} are boxes alone; take dict(type={selector!r}, ...) in '
            "MultiView, and a provider of masks, such as proposals=dict(type='Felzenszwalb')"
        )
    (height, width), (h, w) = found.masks.shape[2:], grid
    if (height, width) != (h, w):
        raise ValueError(
            f'the masks of view {view} have {height} x {width} cells, but the level has '
            f'{h} x {w}; set {selector}(grid={h if h == w else (h, w)})'
        )
    return found.masks
