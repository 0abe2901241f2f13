"""``SlidingWindows``: sliding windows of one view, and the same places in the other views."""

import torch
from torch import Tensor

from densecl.registry import TRANSFORMS
from densecl.structures import ViewRegions, all_corners, image_to_view, view_to_image

from .drawn import DrawnView
from .selector import check_views, whole_view

# Pixels by which a window may extend beyond a view. Rounding must not exclude windows that end on its border.
_ROUNDING = 1e-3


@TRANSFORMS.register_module()
class SlidingWindows:
    """Map sliding windows of one view into the others (ReSim, Xiao et al., 2021). A selector of
    :class:`MultiView`; nothing is random.

    The W windows have the ids 0 .. W - 1 in their own view. In another view, a window that is not completely
    visible has the id -1, and its box is the whole view. In warped views the boxes enclose the windows.

    Args:
        window: side in pixels of the view; 48 on P4 and 32 on P3 in ReSim.
        stride: pixels from one window to the next; 32 and 24 in ReSim.
        view: number of the view that the windows slide over.

    Raises:
        ValueError: ``window`` or ``stride`` is below 1; when called, the view is missing or smaller than a
            window.
    """

    def __init__(self, window: int, stride: int, view: int = 0) -> None:
        for name, value in (('window', window), ('stride', stride)):
            if value < 1:
                raise ValueError(f'SlidingWindows: {name} must be at least 1, got {value}')
        self.window, self.stride, self.view = window, stride, view

    def choose(self, results: dict, views: list[DrawnView]) -> list[ViewRegions]:
        """Place the windows; see :class:`MultiView`."""
        check_views('SlidingWindows: view', (self.view,), len(views))
        own = views[self.view]
        windows = sliding_windows(own.size, self.window, self.stride)
        found = [windows_in_view(windows, own, other) for other in views]
        found[self.view] = ViewRegions(windows.float(), torch.arange(len(windows)))
        return found

    def __repr__(self) -> str:
        return f'SlidingWindows(window={self.window}, stride={self.stride}, view={self.view})'


def sliding_windows(size: tuple[int, int], window: int, stride: int) -> Tensor:
    """Square windows, from the upper left corner, that end before the view's border (ReSim's official code).

    Args:
        size: height and width of the view in pixels.
        window: side in pixels.
        stride: pixels from one window to the next.

    Returns:
        float64 (W, 4), x1, y1, x2, y2, row by row. ReSim has 36 windows of 48 px with stride 32 at 224 px,
        and 64 windows of 32 px with stride 24.

    Raises:
        ValueError: a window is not smaller than the view.
    """
    if min(size) <= window:
        raise ValueError(
            f'SlidingWindows: a window of {window} px does not fit into a view of {size[0]} x {size[1]} '
            'px; make window (and stride) smaller'
        )
    y, x = (torch.arange(0, side - window, stride, dtype=torch.float64) for side in size)
    corner = torch.stack(torch.meshgrid(x, y, indexing='xy'), -1).flatten(0, 1)
    return torch.cat([corner, corner + window], 1)


def windows_in_view(windows: Tensor, view: DrawnView, other: DrawnView) -> ViewRegions:
    """Map windows (W, 4), float64 in pixels of ``view``, into ``other``; see :class:`SlidingWindows`."""
    warped = view.warp is not None or other.warp is not None
    corners = all_corners(windows) if warped else windows.view(-1, 2, 2)
    points = _in_view(corners.reshape(1, -1, 2), view, view_to_image)
    points = _in_view(points, other, image_to_view).view(corners.shape)
    boxes = torch.cat([points.amin(1), points.amax(1)], 1)  # a flip swaps x1 and x2
    whole = whole_view(other, len(windows)).double()
    inside = (boxes[:, :2] >= -_ROUNDING).all(1) & (boxes <= whole[:, 2:].repeat(1, 2) + _ROUNDING).all(1)
    boxes = torch.minimum(boxes.clamp(min=0), whole[:, 2:].repeat(1, 2))
    boxes = torch.where(inside[:, None], boxes, whole)
    return ViewRegions(boxes.float(), torch.where(inside, torch.arange(len(windows)), -1))


def _in_view(points: Tensor, view: DrawnView, mapping) -> Tensor:
    """Points (1, N, 2) mapped from or to a view."""
    crop, flipped = torch.tensor([view.box], dtype=points.dtype), torch.tensor([view.flipped])
    return mapping(points, crop, flipped, view.size, None if view.warp is None else view.warp[None])
