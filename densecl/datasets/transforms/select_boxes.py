"""``SelectBoxes``: the objects that all views of an image show."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from densecl.building import construct
from densecl.registry import TRANSFORMS
from densecl.structures import ViewRegions, boxes_to_view

from .cutout import Cutout
from .drawn import DrawnView
from .selector import WHOLE_IMAGE, ChosenViews, check_views, place, proposals_of


@TRANSFORMS.register_module()
class SelectBoxes:
    """Choose K objects of an image, the same in all its views (SoCo, Wei et al., 2021, section 3.1 and
    the authors' code). A selector of :class:`MultiView` that may draw the views again.

    K random objects are chosen from the common ones: proposals that overlap every view. With fewer than K
    common objects, some are chosen several times, with the same id. With fewer than ``min_common``, the views
    are drawn again and ``min_common`` is halved. If the last draw still has none, the whole image is the
    object, K times, with the id :data:`WHOLE_IMAGE`. Row k is the same object in every view.

    Deviations from the authors' code:

    * It draws K boxes for each pair of views, and so pools 2 K from the first view. Here all views have the
      same K.
    * Its boxes include their last pixel.
    * If no box is common, it takes two crops as one object, even if they do not overlap, with another
      object's id.
    * It jitters boxes before it repeats them. Here each repeated box has its own jitter.
    * Its cutout is centred in the box and may extend beyond it. For C4 its box is not flipped with the view.

    Args:
        count: K.
        views: the views that an object must overlap, all by default. In the others an object that is not
            visible has a box without area and the id -1.
        min_common: number of common objects that is enough to keep a draw; K // 2 by default.
        tries: largest number of draws of the views.
        jitter: a jittered box is shifted and stretched along x and y, each by a uniform share of its own size
            in [-jitter, jitter]. It is then cut to the view. If nothing is left, the box is not changed.
        jitter_prob: probability for each box.
        jitter_views: the views whose boxes are jittered; the others have the proposals' own.
        cutout: arguments of :class:`Cutout`, or None.
    """

    redraws = True

    def __init__(
        self,
        count: int = 4,
        views: tuple[int, ...] | None = None,
        min_common: int | None = None,
        tries: int = 5,
        jitter: float = 0.1,
        jitter_prob: float = 0.5,
        jitter_views: tuple[int, ...] = (0,),
        cutout: dict | None = None,
    ) -> None:
        for name, value in (('count', count), ('tries', tries)):
            if value < 1:
                raise ValueError(f'SelectBoxes: {name} must be at least 1, got {value}')
        if views is not None and not views:
            raise ValueError('SelectBoxes: views must name at least one view, got none; None means all')
        if not (0 <= jitter < 1 and 0 <= jitter_prob <= 1):
            raise ValueError(
                'SelectBoxes: jitter must be in [0, 1) and jitter_prob in [0, 1], '
                f'got {jitter} and {jitter_prob}'
            )
        self.count, self.views, self.tries = count, views, tries
        self.min_common = max(count // 2, 1) if min_common is None else min_common
        self.jitter, self.jitter_prob, self.jitter_views = jitter, jitter_prob, jitter_views
        self.cutout = None if cutout is None else construct(Cutout, cutout, 'cutout')

    def choose(self, results: dict, draw: Callable[[], list[DrawnView]]) -> ChosenViews:
        """Draw the views and place the objects in them; see :class:`MultiView`."""
        proposals, rng = proposals_of(results, 'SelectBoxes'), results['rng']
        boxes = torch.from_numpy(proposals.boxes).double()
        views, common = self._draw_views(boxes, draw)
        if len(common):
            rows = rng.permutation(common)[: self.count]
            rows = np.append(rows, rng.choice(common, self.count - len(rows)))
            boxes, ids = boxes[rows], torch.from_numpy(proposals.ids[rows])
        else:
            height, width = results['image'].shape[:2]
            boxes = torch.tensor([[0, 0, width, height]] * self.count, dtype=torch.float64)
            ids = torch.full((self.count,), WHOLE_IMAGE)
        placed = [self._placed(boxes, ids, v, view, rng) for v, view in enumerate(views)]
        return ChosenViews(views, placed, self._cutouts(placed, rng))

    def _draw_views(
        self, boxes: Tensor, draw: Callable[[], list[DrawnView]]
    ) -> tuple[list[DrawnView], np.ndarray]:
        """The views, and the positions of the boxes that overlap all of the required views."""
        least = min(self.min_common, len(boxes))  # no draw can have more common boxes
        for _ in range(self.tries):
            views = draw()
            self._check_views(len(views))
            asked = views if self.views is None else [views[v] for v in self.views]
            common = _seen_in_all(boxes, asked).nonzero()[:, 0].numpy()
            if len(common) >= least:
                break
            least = max(least // 2, 1)
        return views, common

    def _placed(
        self, boxes: Tensor, ids: Tensor, v: int, view: DrawnView, rng: np.random.Generator
    ) -> ViewRegions:
        placed, seen = place(boxes, view)
        if v in self.jitter_views:
            jittered, inside = place(self._jittered(boxes, rng), view)
            placed = torch.where((seen & inside)[:, None], jittered, placed)
        return ViewRegions(placed.float(), torch.where(seen, ids, -1))

    def _jittered(self, boxes: Tensor, rng: np.random.Generator) -> Tensor:
        chosen = rng.random((len(boxes), 1)) < self.jitter_prob
        change = rng.uniform(-self.jitter, self.jitter, (len(boxes), 4)) * chosen
        shift, stretch = torch.from_numpy(change).chunk(2, 1)
        sides = boxes[:, 2:] - boxes[:, :2]
        corner = boxes[:, :2] + shift * sides
        return torch.cat([corner, corner + sides * (1 + stretch)], 1)

    def _cutouts(self, placed: list[ViewRegions], rng: np.random.Generator) -> list[Tensor | None] | None:
        if self.cutout is None:
            return None
        return [
            self.cutout.draw(p.boxes.double(), rng).float() if v in self.cutout.views else None
            for v, p in enumerate(placed)
        ]

    def _check_views(self, count: int) -> None:
        cut = () if self.cutout is None else self.cutout.views
        named = {'views': self.views or (), 'jitter_views': self.jitter_views, 'cutout.views': cut}
        for name, views in named.items():
            check_views(f'SelectBoxes: {name}', views, count)

    def __repr__(self) -> str:
        return f'SelectBoxes(count={self.count}, tries={self.tries}, cutout={self.cutout})'


def _seen_in_all(boxes: Tensor, views: list[DrawnView]) -> Tensor:
    """(P,) bool: whether each of the boxes (P, 4) overlaps every view."""
    if any(view.warp is not None for view in views):
        return torch.stack([place(boxes, view)[1] for view in views]).all(0)
    crops = torch.tensor([view.box for view in views], dtype=boxes.dtype)
    every = boxes.expand(len(views), -1, -1)
    upright = torch.zeros(len(views), dtype=torch.bool)
    return boxes_to_view(every, crops, upright, (1, 1))[1].all(0)  # the size has no influence
