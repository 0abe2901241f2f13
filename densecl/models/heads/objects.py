"""Objects of the image as the units."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import roi_align

from densecl.models.losses import Samples
from densecl.models.losses.functional import full_precision
from densecl.registry import MODELS
from densecl.structures import ViewRegions, Views

from .base import PretrainHead, project, scores_sets


def assign_levels(boxes: Tensor, thresholds: Sequence[float] = (48, 96, 192, 224)) -> Tensor:
    """The pyramid level of each box by its size: the first whose threshold is at least ``sqrt(w h)``.

    SoCo (Wei et al., 2021, section 3.2). What is larger than the last threshold belongs to the last level; in
    the official code it belongs to none and drops out of the loss. There corners are cut to whole pixels and
    both ends counted (w = x2 - x1 + 1); here sides are those of the box, so that one within a pixel of a
    threshold may lie on the neighbouring level.

    Args:
        boxes: (..., 4), x1, y1, x2, y2 in pixels of the view.
        thresholds: rising, one a level.

    Returns:
        (...) int64, 0 for the finest level.
    """
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    area = sides[..., 0] * sides[..., 1]
    level = torch.zeros_like(area, dtype=torch.int64)
    for threshold in thresholds[:-1]:  # as areas: exact where a root is not
        level += area > threshold**2
    return level


def pool_boxes(level: Tensor, boxes: Tensor, view_size: tuple[int, int], bins: int) -> Tensor:
    """RoIAlign with as many samples as a bin has cells; an empty box gives zeros, at no cost.

    Args:
        level: (B, C, H, W).
        boxes: (B, K, 4), x1, y1, x2, y2 in pixels of the view.
        view_size: height and width of the view in pixels.
        bins: side of the result.

    Returns:
        (B*K, C, bins, bins), in float32 or better.
    """
    level = full_precision(level)
    (height, width), (batch, count) = level.shape[2:], boxes.shape[:2]
    boxes = boxes.to(level.dtype)
    x, y = boxes[..., 0::2] * (width / view_size[1]), boxes[..., 1::2] * (height / view_size[0])
    corners = torch.stack([x, y], -1).flatten(0, 1).flatten(1)  # (B*K, 4)
    image = torch.arange(batch, dtype=level.dtype, device=level.device).repeat_interleave(count)
    with torch.autocast(level.device.type, enabled=False):
        return roi_align(level, torch.cat([image[:, None], corners], 1), bins, aligned=True)


@dataclass
class Objects:
    """The K objects of B images, projected.

    Attributes:
        projections: (B*K, D) of each level on which the objects were pooled; one entry where each was pooled
            on its own.
        level: (B, K), which entry counts.
        ids: (B, K), the same number is the same object in every view; -1 is none.
    """

    projections: list[Tensor]
    level: Tensor
    ids: Tensor

    def choose(self, vectors: list[Tensor]) -> Tensor:
        """Of vectors of all entries those that count, (B, K, D)."""
        stacked = torch.stack(vectors, 1).unflatten(0, self.level.shape)  # (B, K, L, D)
        index = self.level[..., None, None].expand(-1, -1, 1, stacked.shape[-1])
        return stacked.gather(2, index).squeeze(2)


@MODELS.register_module()
class ObjectHead(PretrainHead):
    """The same object in two views is alike, whatever its size there (SoCo, Wei et al., 2021).

    Each view's boxes are pooled from the pyramid level of their size and go through the head that a detector
    will use (:class:`~densecl.models.necks.BoxProjector`). An object that is small in one view and large in
    the other is read from two levels, which makes them agree.

    Shapes do not depend on the data: every level pools K regions an image, those that lie on another level as
    empty boxes, which cost nothing, and the results add up.

    Args:
        levels: levels of the neck (or backbone) that are pooled from, fine to coarse.
        thresholds: see :func:`assign_levels`; one a level, in pixels of the view.
        pool: ``'assigned'`` puts each box through the projector once, from its own level. ``'all'`` is the
            official code: every box from every level, a pass a level, of which only the assigned ones enter
            the loss. The others are seen by batch statistics alone, at ``len(levels)`` times the cost.
        pool_size: side of a pooled region in bins.
        positives: ``'all'`` objects of the query's id in the key view, for objectives on sets:
            ``objective(query (B, K, D), keys (B, K, D), positives bool (B, K, K), samples)``
            (``PixelConsistency``, ``MultiPositive``). ``'first'`` of them, for objectives on rows:
            ``objective(query (B*K, D), positive (B*K, D), new_keys (B, D), samples)`` (``InfoNCE``,
            ``NegativeCosine``, ...), an image's new key being the mean of its objects' projections. Every
            object then has to be in both views, as those of ``SelectBoxes`` are: one that is not is
            compared with the first. The log's ``matched``, the share of queries with a positive, says so.
        **kwargs: see :class:`PretrainHead`. The projector maps (N, C, s, s) to (N, D), the predictor
            (N, D) to (N, D). SoCo *sums* twice ``PixelConsistency`` over its pairs and both directions where
            a head takes the mean: ``loss_weight`` is twice the number of ``pairs``.
    """

    def __init__(
        self,
        *,
        levels: Sequence[int] = (0, 1, 2, 3),
        thresholds: Sequence[float] = (48, 96, 192, 224),
        pool: str = 'assigned',
        pool_size: int = 7,
        positives: str = 'all',
        **kwargs,
    ) -> None:
        if 'level' in kwargs:
            raise ValueError('ObjectHead has levels=(...), one for each size of object, and no level')
        super().__init__(**kwargs)
        if len(levels) != len(thresholds) or list(thresholds) != sorted(thresholds):
            raise ValueError(
                'ObjectHead: thresholds must rise and be one a level, got '
                f'{tuple(thresholds)} for levels {tuple(levels)}'
            )
        if pool not in ('assigned', 'all'):
            raise ValueError(f"ObjectHead: pool must be 'assigned' or 'all', got {pool!r}")
        if positives not in ('all', 'first'):
            raise ValueError(f"ObjectHead: positives must be 'all' or 'first', got {positives!r}")
        if positives == 'all' and not scores_sets(self.objective):
            raise ValueError(
                f"ObjectHead: {type(self.objective).__name__} scores rows: set positives='first', or take an "
                'objective on sets (PixelConsistency, MultiPositive)'
            )
        self.levels = tuple(levels)
        self.thresholds = tuple(thresholds)
        self.pool = pool
        self.pool_size = pool_size
        self.positives = positives

    def units(self, branch, projector, views, wanted):
        """View -> :class:`Objects`; see :meth:`PretrainHead.units`."""
        found = {v: _proposals(views, v) for v in wanted}
        level = {v: assign_levels(objects.boxes, self.thresholds) for v, objects in found.items()}
        pooled = {
            (v, i): x
            for v in wanted
            for i, x in enumerate(self._pooled(branch[v], found[v].boxes, level[v], _size(views, v)))
        }
        projected = project(projector, pooled, branch.joint)
        units = {}
        for v in wanted:
            projections = [x for (view, _), x in projected.items() if view == v]
            entry = level[v] if self.pool == 'all' else torch.zeros_like(level[v])
            units[v] = Objects(projections, entry, found[v].ids)
        return units

    def _pooled(
        self, features: Sequence[Tensor], boxes: Tensor, level: Tensor, size: tuple[int, int]
    ) -> list[Tensor]:
        """(B*K, C, s, s): from every level, or one from the assigned levels."""
        maps = [features[i] for i in self.levels]
        if self.pool == 'all':
            return [pool_boxes(x, boxes, size, self.pool_size) for x in maps]
        here = [torch.where((level == i)[..., None], boxes, 0.0) for i in range(len(maps))]
        parts = [pool_boxes(x, b, size, self.pool_size) for x, b in zip(maps, here, strict=True)]
        return [sum(parts[1:], parts[0])]

    def pair_loss(self, query: Objects, key: Objects, views: Views):
        """The objective, and ``matched``, the share of queries that have a positive."""
        same = query.ids[:, :, None] == key.ids[:, None, :]
        same &= (query.ids >= 0)[:, :, None]
        self.embeddings = query.choose(query.projections).detach().flatten(0, 1)
        predictions = query.choose([self.predict(x) for x in query.projections])
        keys = key.choose([self.key_of(x) for x in key.projections])
        score = self._score_sets if self.positives == 'all' else self._score_rows
        loss, diagnostics = score(predictions, keys, same, views)
        return {'loss': loss, **diagnostics, 'matched': same.any(2).float().mean()}

    def _score_sets(self, query: Tensor, keys: Tensor, same: Tensor, views: Views):
        samples = Samples(indices=views.indices, labels=views.labels)
        return self.objective(query, keys, same, samples)

    def _score_rows(self, query: Tensor, keys: Tensor, same: Tensor, views: Views):
        match = same.int().argmax(2)  # (B, K), the first
        positive = keys.gather(1, match[..., None].expand_as(keys))
        batch, count = match.shape
        samples = Samples(
            indices=views.indices,
            labels=views.labels,
            rows=torch.arange(batch, device=match.device).repeat_interleave(count),
            queries=query.mean(1),
        )
        return self.objective(query.flatten(0, 1), positive.flatten(0, 1), keys.mean(1), samples)


def _size(views: Views, view: int) -> tuple[int, int]:
    return tuple(views.images[view].shape[-2:])


def _proposals(views: Views, view: int) -> ViewRegions:
    found = views.regions['objects'][view] if 'objects' in views.regions else None
    if found is None:
        raise ValueError(
            f'ObjectHead: view {view} has no objects; give the data set a provider, '
            "proposals=dict(type=...), and its MultiView regions=dict(objects=dict(type='SelectBoxes'))"
        )
    return found
