"""Windows that slide over a view as the units."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.models.losses.functional import full_precision
from densecl.models.matching import pooled_boxes, share_area
from densecl.registry import MODELS
from densecl.structures import Views

from .base import PretrainHead, project
from .dense import cells


class ViewMap(NamedTuple):
    """The (B, D, H, W) map of view number ``view``."""

    view: int
    map: Tensor


def interval_weights(near: Tensor, far: Tensor, count: int) -> Tensor:
    """How much each of ``count`` cells adds to the mean of its linear interpolation over an interval.

    The values lie at the cells' centres, 0.5, 1.5, ...; beyond the outermost they are continued unchanged.

    Args:
        near: (...,), where the interval begins, in cells, in [0, count].
        far: (...,), where it ends, further on.

    Returns:
        (..., count), of sum 1.
    """
    centers = torch.arange(-1, count + 1, dtype=near.dtype, device=near.device) + 0.5

    def area(edge: Tensor) -> Tensor:
        """What the triangle around each centre has to the left of ``edge``."""
        u = (edge[..., None] - centers).clamp(-1, 1)
        return 0.5 + u - u * u.abs() / 2

    weights = (area(far) - area(near)) / (far - near)[..., None]
    inner = weights[..., 1:-1].clone()
    inner[..., 0] += weights[..., 0]
    inner[..., -1] += weights[..., -1]
    return inner


def pool_windows(level: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The mean of a bilinearly interpolated map over boxes, as an exact integral.

    That is PrRoIPool (Jiang et al., 2018) with one bin and cell centres at half cells (the official operator
    has them at whole cells), and what RoIAlign comes to with ever more samples. The integral over a box is a
    weighted sum of cells: a matrix product does.

    Args:
        level: (B, C, H, W).
        boxes: (B, R, 4), x1, y1, x2, y2 in pixels of the view, with an area, inside it.
        size: height and width of the view in pixels.

    Returns:
        (B, R, C), in float32 or better.
    """
    level = full_precision(level)
    height, width = level.shape[2:]
    x1, y1, x2, y2 = boxes.double().unbind(-1)
    rows = interval_weights(y1 * (height / size[0]), y2 * (height / size[0]), height)
    columns = interval_weights(x1 * (width / size[1]), x2 * (width / size[1]), width)
    weights = (rows[..., :, None] * columns[..., None, :]).flatten(2).to(level.dtype)
    with torch.autocast(level.device.type, enabled=False):
        return weights @ cells(level)


@MODELS.register_module()
class WindowHead(PretrainHead):
    """Each window of a view is alike in the other view, and unlike other places (ReSim, Xiao et al., 2021).

    Windows slide over the query view; those that the key view does not wholly show are ignored by a mask, so
    that shapes are fixed and nothing waits for the device. A window's vector is the mean of the map over it.
    Negatives are the places of the key maps of all images, each the average of 3x3 neighbouring cells.

    Args:
        window: side in pixels of the view; 48 on P4 and 32 on P3 in ReSim.
        stride: pixels from one window to the next; 32 and 24 in ReSim.
        pool: side, in cells, of the neighbourhoods that serve as negatives; a smaller map is averaged whole.
        overlapping: places of the window's own image that overlap it are negatives too. In the official
            code they are, the place of the positive itself among them.
        projector: module config of what maps (B, C, H, W) to (B, D, H, W); ReSim has none (None).
        **kwargs: see :class:`PretrainHead`; a predictor maps (B, D, H, W) too; the objective is called as
            ``objective(query (B, W, D), key (B, W, D), places (B, P, D), counted bool (B, W), apart bool
            (B, W, P) or None)``.
    """

    def __init__(
        self,
        *,
        window: int,
        stride: int,
        pool: int = 3,
        overlapping: bool = False,
        projector: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(projector=projector or dict(type=nn.Identity), **kwargs)
        for name, value in (('window', window), ('stride', stride), ('pool', pool)):
            if value < 1:
                raise ValueError(f'WindowHead: {name} must be at least 1, got {value}')
        self.window = window
        self.stride = stride
        self.pool = pool
        self.overlapping = overlapping

    def draw(
        self, views: Views, pair: tuple[int, int] | None = None
    ) -> tuple[dict[int, Tensor], Tensor]:
        """The windows of a pair of views.

        Args:
            views: the batch.
            pair: (query view, key view); by default the first of the head's pairs.

        Returns:
            View -> (B, W, 4), x1, y1, x2, y2 in its pixels; and (B, W) bool, whether the key view shows the
            whole window (where not, its box there means nothing).
        """
        q, k = pair or self.pairs[0]
        found = {v: views.regions[f'windows{self.window}'][v] for v in (q, k)}
        return {v: r.boxes for v, r in found.items()}, found[k].ids >= 0

    def units(self, branch, projector, views, wanted):
        """View -> :class:`ViewMap`; see :meth:`PretrainHead.units`."""
        levels = {v: branch[v][self.level] for v in wanted}
        maps = project(projector, levels, branch.joint)
        return {v: ViewMap(v, x) for v, x in maps.items()}

    def pair_loss(self, query, key, views):
        """The objective on the windows; see :meth:`PretrainHead.pair_loss`."""
        placed, inside = self.draw(views, (query.view, key.view))
        sizes = {v: tuple(views.images[v].shape[-2:]) for v in placed}
        mine = pool_windows(self.predict(query.map), placed[query.view], sizes[query.view])
        self.embeddings = mine.detach().flatten(0, 1)
        key_map = full_precision(self.key_of(key.map))
        theirs = pool_windows(key_map, placed[key.view], sizes[key.view])
        grid = tuple(key_map.shape[2:])
        pool = tuple(min(self.pool, side) for side in grid)
        places = cells(F.avg_pool2d(key_map, pool, stride=1))
        apart = None
        if not self.overlapping:
            boxes = pooled_boxes(grid, pool, sizes[key.view]).to(inside.device)
            apart = ~share_area(placed[key.view], boxes)
        loss, diagnostics = self.objective(mine, theirs, places, inside, apart)
        return {'loss': loss, **diagnostics}
