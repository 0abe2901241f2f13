"""Masks of objects as the units."""

import torch
from torch import Tensor

from densecl.models.losses import Samples
from densecl.models.losses.functional import full_precision
from densecl.registry import MODELS
from densecl.structures import Views

from .base import PretrainHead, project, scores_sets


def pool_masks(level: Tensor, masks: Tensor) -> Tensor:
    """The mean of a feature map over masks.

    Args:
        level: (B, C, h, w).
        masks: (B, K, h, w), how much of each cell belongs to a mask, in [0, 1]. A mask without any cell has
            the mean 0.

    Returns:
        (B, K, C), in float32 or better.
    """
    cells = full_precision(level).flatten(2)  # (B, C, h*w)
    shares = masks.to(cells.dtype).flatten(2)  # (B, K, h*w)
    with torch.autocast(level.device.type, enabled=False):
        sums = shares @ cells.transpose(1, 2)
    # A mask has a cell at least; where shares are soft, any part of one.
    return sums / shares.sum(2, keepdim=True).clamp(min=1e-6)


@MODELS.register_module()
class MaskHead(PretrainHead):
    """A mask looks alike in both views, and unlike all other masks (DetCon, Hénaff et al., 2021).

    The features of a mask are the mean of the level's cells that it has. With a momentum target and a
    predictor this is DetCon-B, with shared weights DetCon-S. The pipeline draws the masks:
    ``MultiView(regions=dict(masks=dict(type='SelectMasks', ...)))``.

    Args:
        own_view: the objective is one that tells masks of the query's view apart too, called as
            ``objective(query (B, K, D), keys, own keys, query ids (B, K), key ids)``
            (:class:`~densecl.models.losses.MaskContrast`). Without, one on sets: ``objective(query, keys,
            positives bool (B, K, K), samples)`` (``PixelConsistency``, ``MultiPositive``).
        pairs: see :class:`PretrainHead`; both directions by default.
        **kwargs: see :class:`PretrainHead`; projector and predictor map (N, C) to (N, D). The official
            code sums the two directions, a head takes their mean: ``loss_weight=2``.
    """

    def __init__(self, *, own_view: bool = True, pairs=((0, 1), (1, 0)), **kwargs) -> None:
        super().__init__(pairs=pairs, **kwargs)
        if not own_view and not scores_sets(self.objective):
            raise ValueError(
                f'MaskHead: {type(self.objective).__name__} does not score sets; with own_view=False take '
                'PixelConsistency or MultiPositive'
            )
        self.own_view = own_view

    def needed(self, count):
        """With ``own_view`` the target sees the queries' views too. See :meth:`PretrainHead.needed`."""
        needed = super().needed(count)
        if self.own_view:
            needed['target'] = needed['target'] | needed['online']
        return needed

    def loss(self, online, target, views, target_projector):
        """Mean over the pairs; see :meth:`PretrainHead.loss`."""
        needed = self.needed(len(views))
        if target is online:
            both = sorted(needed['online'] | needed['target'])
            queries = keys = self.units(online, self.projector, views, both)
        else:
            queries = self.units(online, self.projector, views, sorted(needed['online']))
            with torch.no_grad():
                keys = self.units(target, target_projector, views, sorted(needed['target']))
        self.embeddings = torch.cat([query.detach() for query in queries.values()]).flatten(0, 1)
        keys = {v: self.key_of(key) for v, key in keys.items()}
        results = [self._scored(q, k, queries, keys, views) for q, k in self.pairs]
        return {key: sum(r[key] for r in results) / len(results) for key in results[0]}

    def _scored(
        self, q: int, k: int, queries: dict[int, Tensor], keys: dict[int, Tensor], views: Views
    ) -> dict[str, Tensor]:
        """The objective on one pair of views."""
        prediction = self.predict(queries[q].flatten(0, 1)).unflatten(0, queries[q].shape[:2])
        query_ids, key_ids = views.regions['masks'][q].ids, views.regions['masks'][k].ids
        if self.own_view:
            loss, diagnostics = self.objective(prediction, keys[k], keys[q], query_ids, key_ids)
        else:
            same = query_ids[:, :, None] == key_ids[:, None]
            samples = Samples(indices=views.indices, labels=views.labels)
            loss, diagnostics = self.objective(prediction, keys[k], same, samples)
        return {'loss': loss, **diagnostics}

    def units(self, branch, projector, views, wanted):
        """View -> (B, K, D) projections; see :meth:`PretrainHead.units`."""
        pooled = {}
        for v in wanted:
            level = branch[v][self.level]
            pooled[v] = pool_masks(level, _masks(views, v, level.shape[2:])).flatten(0, 1)
        projections = project(projector, pooled, branch.joint)
        return {v: x.unflatten(0, (views.batch_size, -1)) for v, x in projections.items()}


def _masks(views: Views, view: int, grid: torch.Size) -> Tensor:
    """(B, K, h, w) masks of a view, once they are known to fit the level's grid."""
    found = views.regions['masks'][view] if 'masks' in views.regions else None
    masks = None if found is None else found.masks
    if masks is None:
        raise ValueError(
            f'MaskHead: view {view} has no masks; give MultiView '
            "regions=dict(masks=dict(type='SelectMasks', ...)) and "
            "the data set a provider of masks, such as proposals=dict(type='Felzenszwalb')"
        )
    if masks.shape[2:] != grid:
        (height, width), (h, w) = masks.shape[2:], grid
        raise ValueError(
            f'MaskHead: the masks of view {view} have {height} x {width} cells, but the level has {h} x {w}; '
            f'set SelectMasks(grid={h if h == w else (h, w)})'
        )
    return masks
