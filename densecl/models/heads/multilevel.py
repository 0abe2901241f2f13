"""Whole images and sets of patches as the units, on several levels at once."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from densecl.models.losses import InfoNCE, Samples
from densecl.registry import MODELS

from .base import PretrainHead
from .image import pool
from .patches import ORDERS, in_order

#: Term -> its name in the log, kind of the query, kind of the key (whose queue it meets).
TERMS = {
    'global': ('g2g', 'global', 'global'),
    'local': ('l2l', 'local', 'local'),
    'local_to_global': ('l2g', 'local', 'global'),
}


@MODELS.register_module()
class MultiLevelHead(PretrainHead):
    """Contrast images and their patches on several levels of the backbone (DetCo, Xie et al., 2021).

    A level's global unit is its pooled map; its local unit are the pooled maps of the image's patches,
    concatenated. The loss is ``sum over levels of weight * sum of terms``, each term an InfoNCE of its own.
    With one level and the term ``'global'`` alone that is MoCo v2.

    Views come in this order: the image for the query (0), the image for the key (1), the P patches for the
    query, the P patches for the key: ``MultiView(views=[dict(count=2, ...), dict(type='JigsawPatches',
    count=2, ...)])``. Without a local term the first two are enough. ``join_views=True`` of the pretrainer
    encodes the patches of an image's side in one pass. What no term asks for is not encoded.

    Args:
        levels: of the backbone (or neck).
        projector: module config of all projectors, ``dict(type='LevelProjectors', channels=...)``; names and
            kinds are filled in.
        objective: config of an ``InfoNCE``. Each level and kind of key has one, with a queue of its own:
            what compares local queries with global keys meets the queue of global keys, too.
        weights: of the levels.
        terms: any of ``'global'`` (image with image), ``'local'`` (patches with patches) and
            ``'local_to_global'`` (patches with the image; with a momentum target beside ``'global'`` only).
        names: of the levels in the log and in checkpoints; their numbers by default.
        order: in which patches are concatenated. ``'drawn'``: as they come, in the random order of the views,
            as PIRL does, so that the order itself cannot be learned; ``'image'``: as they lie in the
            image, so that each place has weights of its own.
        loss_weight: see :class:`PretrainHead`; so is the last.

    The log has ``<term>_<level>``, each term's own value (``g2g_c5``), and for each level ``pos_sim_<level>``
    and ``top1_<level>`` of its first term. ``embeddings`` are those of every query by kind and level.
    """

    def __init__(
        self,
        levels: Sequence[int],
        projector: dict,
        objective: dict,
        weights: Sequence[float] = (0.1, 0.4, 0.7, 1.0),
        terms: Sequence[str] = tuple(TERMS),
        names: Sequence[str] | None = None,
        order: str = 'drawn',
        loss_weight: float = 1.0,
        warmup_steps: int = 0,
    ) -> None:
        names = tuple(str(level) for level in levels) if names is None else tuple(names)
        _check(levels, weights, terms, names, order)
        terms = [TERMS[name] for name in TERMS if name in terms]
        queried = [kind for kind in ('global', 'local') if any(kind == t[1] for t in terms)]
        kept = [kind for kind in ('global', 'local') if any(kind == t[2] for t in terms)]
        super().__init__(
            dict(projector, names=names, kinds=sorted({*queried, *kept})),
            objective,
            level=levels[-1],
            loss_weight=loss_weight,
            warmup_steps=warmup_steps,
        )
        if not isinstance(self.objective, InfoNCE):
            raise ValueError(
                "MultiLevelHead needs dict(type='InfoNCE', ...) as objective, whose queue two terms may "
                f'meet, got {type(self.objective).__name__}'
            )
        self.objective = nn.ModuleDict(
            {f'{kind}_{name}': MODELS.build(objective) for kind in kept for name in names}
        )
        self.levels = dict(zip(names, levels, strict=True))
        self.weights = dict(zip(names, weights, strict=True))
        self.terms, self.order = terms, order
        self.kinds = {'online': queried, 'target': kept}
        #: name (``local_c5``) -> (N, C) queries of the last forward pass.
        self.embeddings: dict[str, Tensor] | None = None

    def _views(self, side: str) -> dict[str, list[int]]:
        """The views of each kind that a side needs."""
        key, patches = side == 'target', self.projector.patches
        found = {'global': [int(key)], 'local': list(range(2 + key * patches, 2 + (1 + key) * patches))}
        return {kind: found[kind] for kind in self.kinds[side]}

    def needed(self, count: int) -> dict[str, set[int]]:
        """The image and the patches of each side, as far as a term asks for them."""
        found = {
            side: {v for views in self._views(side).values() for v in views} for side in self.kinds
        }
        patches = self.projector.patches
        wanted, whole = max(set().union(*found.values())) + 1, 2 + 2 * patches
        if count < wanted or (wanted > 2 and count not in (wanted, whole)):
            raise ValueError(
                f'MultiLevelHead: two images, and {patches} patches for each of them, are {whole} views, '
                f'{wanted} of which the terms need; the pipeline makes {count}. MultiView needs '
                "views=[dict(count=2, ...), dict(type='JigsawPatches', count=2, ...)], and the projector's "
                'patches must be grid * grid'
            )
        return found

    def loss(self, online, target, views, target_projector):
        """See :class:`PretrainHead`; all terms of a level are scored before its queues move on."""
        self.needed(len(views))
        if target is not online and set(self.kinds['target']) - set(self.kinds['online']):
            raise ValueError(
                "MultiLevelHead: no query trains the projector of 'global' keys, of which a momentum target "
                "takes the average; add 'global' to terms, or take SharedPretrainer"
            )
        queries = self.units(online, self.projector, views, self._views('online'))
        with torch.set_grad_enabled(torch.is_grad_enabled() and target is online):
            keys = self.units(target, target_projector, views, self._views('target'))
        self.embeddings = {name: query.detach() for name, query in queries.items()}
        samples = Samples(indices=views.indices, labels=views.labels)
        total, logged = 0.0, {}
        for level, weight in self.weights.items():
            for term, of_query, of_key in self.terms:
                objective, key = self.objective[f'{of_key}_{level}'], keys[f'{of_key}_{level}']
                value, found = objective.score(queries[f'{of_query}_{level}'], key, key, samples)
                total = total + weight * value
                logged[f'{term}_{level}'] = value.detach()
                for name, x in found.items():
                    logged.setdefault(f'{name}_{level}', x)
        if self.training:
            for name, key in keys.items():
                self.objective[name].remember(key, samples)
        return {'loss': total, **logged}

    def units(self, branch, projector, views, wanted):
        """``<kind>_<level>`` -> (B, D) projections.

        Args:
            branch: see :meth:`PretrainHead.loss`.
            projector: of this branch.
            views: geometry of the views.
            wanted: kind -> its views.
        """
        found = {}
        for kind, numbers in wanted.items():
            boxes = [views.boxes[v] for v in numbers]
            for name, level in self.levels.items():
                pooled = [pool(_level(branch[v], level)) for v in numbers]
                if kind == 'global':
                    inputs = pooled[0]
                else:
                    inputs = in_order(torch.stack(pooled, 1), boxes, self.order)
                found[f'{kind}_{name}'] = projector[kind][name](inputs)
        return found


def _level(levels: Sequence[Tensor], number: int) -> Tensor:
    if not -len(levels) <= number < len(levels):
        raise ValueError(
            f'MultiLevelHead: level {number} is wanted, the backbone returns {len(levels)} level(s); set '
            "the backbone's out_indices"
        )
    return levels[number]


def _check(levels, weights, terms, names, order) -> None:
    if not levels or not len(levels) == len(weights) == len(set(names)):
        raise ValueError(
            'MultiLevelHead: every level needs a weight and a name of its own, got levels '
            f'{tuple(levels)}, weights {tuple(weights)}, names {tuple(names)}'
        )
    unknown = [term for term in terms if term not in TERMS]
    if unknown or not terms:
        raise ValueError(
            f'MultiLevelHead: terms must be some of {tuple(TERMS)}, got {tuple(terms)}'
        )
    if order not in ORDERS:
        raise ValueError(f'MultiLevelHead: order must be one of {ORDERS}, got {order!r}')
