"""Objects that are found in two views jointly, as scores of prototypes."""

from dataclasses import replace

import torch

from densecl.models.matching import joint_clusters
from densecl.models.memory import random_bits
from densecl.registry import MODELS
from densecl.structures import Units, ViewRegions

from .base import cells, place_of
from .image import Prototypes
from .pooling import pool_masks


@MODELS.register_module()
class JointObjects(Prototypes):
    """Clusters of the target's cells of views 0 and 1, as scores of K prototypes (CrIBo, ICLR 2024).

    The cells of both views are clustered jointly, see
    :func:`~densecl.models.matching.joint_clusters.joint_clusters`. A cluster with cells in both views is an
    object, with the same row and id in both. Its features in a view are the mean over its cells, from each
    branch's own map. The cells that the clusters start from depend only on image and step.

    Args:
        level: which level of the backbone (or neck) is clustered and averaged.
        count: number K' of clusters of an image; 64 on COCO, 32 on ImageNet.
        position_weight, sharpness, rounds, iterations: parameters of the clustering.
        **kwargs: see :class:`Prototypes`.
    """

    gives = frozenset({'scores', 'embeddings', 'features', 'ids', 'several'})

    def __init__(
        self,
        level: int = -1,
        count: int = 32,
        position_weight: float = 1.0,
        sharpness: float = 20.0,
        rounds: int = 5,
        iterations: int = 5,
        **kwargs,
    ) -> None:
        super().__init__(level, **kwargs)
        if min(count, rounds, iterations) < 1 or sharpness <= 0:
            raise ValueError(
                'JointObjects: count, rounds and iterations must be at least 1 and sharpness > 0, got '
                f'{count}, {rounds}, {iterations} and {sharpness}'
            )
        self.count = count
        self.clustering = dict(
            position_weight=position_weight, sharpness=sharpness, rounds=rounds, iterations=iterations
        )

    @torch.no_grad()
    def found(self, target, views):
        """The views, with regions ``'objects'`` in the first two: masks (B, K', h, w) and ids (B, K')."""
        maps = [target[v][self.level] for v in (0, 1)]
        grids = [x.shape[2:] for x in maps]
        rows = torch.cat([cells(x) for x in maps], 1)
        places = torch.cat([place_of(views, v, tuple(grids[v])).centers() for v in (0, 1)], 1)
        if self.count > rows.shape[1]:
            raise ValueError(
                f'JointObjects: count={self.count} clusters of {rows.shape[1]} cells; lower units.count'
            )
        step = views.indices.new_full((), self.clock.step if self.clock else 0)
        first = random_bits(views.indices, rows.shape[1], step).argsort(1)[:, : self.count]
        labels = joint_clusters(rows, places, first, **self.clustering)
        numbers = torch.arange(self.count, device=labels.device)
        members = (labels[:, None] == numbers[:, None]).split([h * w for h, w in grids], 2)
        there = members[0].any(2) & members[1].any(2)
        ids = torch.where(there, numbers, -1)
        regions = [
            ViewRegions(None, ids, (x & there[..., None]).unflatten(2, grid))
            for x, grid in zip(members, grids, strict=True)
        ]
        return replace(views, regions={**views.regions, 'objects': regions})

    def inputs(self, branch, views, source):
        """Features of the objects, (B * K', C)."""
        if source > 1:
            raise ValueError(f'JointObjects are found in views 0 and 1, pairs name view {source}')
        return pool_masks(branch[source][self.level], views.regions['objects'][source].masks).flatten(0, 1)

    def record(self, chosen, inputs, projections, predictions, views):
        ids = views.regions['objects'][chosen].ids
        embeddings, scores = (x.unflatten(0, ids.shape) for x in projections)
        valid = ids >= 0
        return Units(
            scores,
            valid=valid,
            ids=ids,
            features=inputs.detach().unflatten(0, ids.shape),
            embeddings=embeddings,
            log={'objects': valid.sum(1).float().mean()},
        )
