"""The foreground cells of a view, and the scores of prototypes for cells."""

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.messages import check_choice
from densecl.numerics import full_precision, no_autocast
from densecl.registry import MODELS
from densecl.structures import Units

from .base import cells, place_of
from .image import Prototypes


@torch.no_grad()
@no_autocast
def foreground_of(saliency: Tensor, mass: float = 0.6, blur: float = 0.6) -> Tensor:
    """The most salient cells of each image, without specks (Leopart, Ziegler and Asano, 2022, official code).

    The map is blurred with a Gaussian kernel of 7 x 7 cells and reflected edges. The foreground is the most
    salient cells, which together hold the share ``mass`` of the blurred map. Connected components (diagonals
    count) of 1 or 2 cells are removed.

    Args:
        saliency: (B, h, w), 0 or more: attention of the class token, mean over its heads.
        mass: share of the map that the foreground holds, in (0, 1].
        blur: > 0, standard deviation of the kernel in cells.

    Returns:
        (B, h, w) bool; no cell if an image's map is 0.
    """
    maps = _blurred(full_precision(saliency), blur)
    values, order = maps.flatten(1).sort(dim=1)
    shares = values / values.sum(1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
    salient = torch.zeros_like(order, dtype=torch.bool)
    salient = salient.scatter(1, order, shares.cumsum(1) > 1 - mass).view(maps.shape)
    return salient & ~_specks(salient)


def _blurred(maps: Tensor, sigma: float) -> Tensor:
    """Blur (B, h, w). On maps of 3 cells a side or less the kernel is smaller, so that reflection works."""
    for dim in (1, 2):
        reach = min(3, maps.shape[dim] - 1)
        places = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
        weights = (-places.square() / (2 * sigma**2)).softmax(0)
        shape = (1, 1, -1, 1) if dim == 1 else (1, 1, 1, -1)
        pads = (0, 0, reach, reach) if dim == 1 else (reach, reach, 0, 0)
        maps = F.conv2d(F.pad(maps[:, None], pads, 'reflect'), weights.view(shape))[:, 0]
    return maps


def _specks(mask: Tensor) -> Tensor:
    """(B, h, w) bool, the cells of 8-connected components of 1 or 2 cells."""
    ones = mask[:, None].float()
    near = F.avg_pool2d(ones, 3, 1, 1, divisor_override=1) - ones  # neighbours of each cell
    # True if neither the cell nor a neighbour of it has more than one neighbour.
    return mask & (F.max_pool2d(near * ones, 3, 1, 1)[:, 0] < 1.5)


@MODELS.register_module()
class CellPrototypes(Prototypes):
    """The scores of K prototypes for every cell; optionally only foreground cells of the target count.

    With ``matching=dict(type='SharedGrid', size=7)`` and ``SwappedPrediction`` it is Leopart (Ziegler and
    Asano, 2022). Only the branch without gradient has a foreground (:func:`foreground_of`): it restricts the
    keys, not the queries.

    Args:
        level: which level of the backbone (or neck) is read.
        foreground: None: all cells count. ``'attention'``: by the attention of the class token, the level
            ``attention`` of ``TimmViT(output_attention=True)``. ``'norm'``: by the squared length of a cell's
            features, for networks without a class token.
        attention: the level of the attention maps, which are averaged over the heads.
        mass, blur: see :func:`foreground_of`.
        **kwargs: see :class:`Prototypes`.
    """

    gives = frozenset({'scores', 'embeddings', 'features', 'grid', 'place', 'several', 'always'})

    def __init__(
        self,
        level: int = -1,
        foreground: str | None = None,
        attention: int = 0,
        mass: float = 0.6,
        blur: float = 0.6,
        **kwargs,
    ) -> None:
        super().__init__(level, **kwargs)
        check_choice('CellPrototypes: foreground', foreground, (None, 'attention', 'norm'))
        if not 0 < mass <= 1 or blur <= 0:
            raise ValueError(
                f'CellPrototypes: mass must lie in (0, 1] and blur be > 0, got {mass} and {blur}'
            )
        self.foreground, self.attention, self.mass, self.blur = foreground, attention, mass, blur
        if foreground is not None:
            self.gives = self.gives - {'always'}

    def inputs(self, branch, views, source):
        """The level (B, C, h, w), and which of its cells count, (B, h, w) bool or None."""
        levels = branch[source]
        maps = levels[self.level]
        if self.foreground is None or branch.gradient:
            return maps, None
        if self.foreground == 'norm':
            return maps, foreground_of(full_precision(maps).square().sum(1), self.mass, self.blur)
        attention = levels[self.attention]
        if attention is maps or attention.shape[2:] != maps.shape[2:]:
            raise ValueError(
                f'CellPrototypes: level {self.attention} has no attention for {tuple(maps.shape[2:])} cells; '
                "set backbone.output_attention=True, or take foreground='norm'"
            )
        return maps, foreground_of(full_precision(attention).mean(1), self.mass, self.blur)

    def project(self, projector, inputs, joint):
        """See :class:`Prototypes`."""
        rows = {source: cells(maps).flatten(0, 1) for source, (maps, _) in inputs.items()}
        return super().project(projector, rows, joint)

    def record(self, chosen, inputs, projections, predictions, views):
        maps, found = inputs
        embeddings, scores = (x.unflatten(0, (len(maps), -1)) for x in projections)
        return Units(
            scores,
            valid=None if found is None else found.flatten(1),
            place=place_of(views, chosen, grid=tuple(maps.shape[2:])),
            features=cells(maps.detach()),
            embeddings=embeddings,
            log={} if found is None else {'foreground': found.float().mean()},
        )
