"""The whole image as one unit: a vector, or scores of prototypes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from densecl.messages import check_choice
from densecl.registry import MODELS
from densecl.schedule import Clock
from densecl.structures import Units

from .base import UnitProducer, pool, record_of


@MODELS.register_module()
class Image(UnitProducer):
    """One unit an image: SimCLR, MoCo v1 to v3, BYOL, SimSiam, Barlow Twins, VICReg, SupCon and more.

    Args:
        level: which level of the backbone (or neck) is read.
        project: ``'pooled'``: pool the level, then project (B, C) -> (B, D). ``'cells'``: project (and
            predict) each cell, (B, C, H, W) -> (B, D, H, W), then average (PixPro's instance branch); with a
            nonlinear projector this is not the same vector. ``'map'``: the projector pools by itself,
            (B, C, H, W) -> (B, D) (CLIP's :class:`~densecl.models.necks.AttentionPool2d`).
        detach: no gradient reaches the backbone (a probe).
    """

    gives = frozenset({'features', 'pooled', 'always', 'single'})

    def __init__(self, level: int = -1, project: str = 'pooled', detach: bool = False) -> None:
        super().__init__(level)
        check_choice('Image: project', project, ('pooled', 'cells', 'map'))
        self.projected = project
        self.detached = detach

    def inputs(self, branch, views, source):
        levels = branch[source]
        level = levels.pooled(self.level) if self.projected == 'pooled' else levels[self.level]
        return level.detach() if self.detached else level

    def record(self, chosen, inputs, projections, predictions, views):
        def row(x: Tensor) -> Tensor:
            return (pool(x) if x.ndim == 4 else x)[:, None]

        return record_of(projections, predictions, row, features=row(inputs.detach()))


@MODELS.register_module()
class ImageWithHard(Image):
    """The image as one unit; in one view its hard negatives are further units, which answer no query.

    With ``dict(type='InfoNCE', batch='units')`` they are candidates for all images, and ``matching='SameId'``
    gives them no query (SimCSE with contradictions, Gao et al., 2021). They have a gradient.

    Args:
        view: the key view.
        hard: the views that are its hard negatives.
        level: which level of the backbone (or neck) is read.
    """

    gives = (Image.gives - {'single'}) | {'ids'}

    def __init__(self, view: int = 1, hard: Sequence[int] = (2,), level: int = -1) -> None:
        super().__init__(level)
        self.view, self.hard = view, tuple(hard)

    def views_of(self, chosen):
        """The view; for the key view, also the views of its hard negatives."""
        return [chosen, *self.hard] if chosen == self.view else [chosen]

    def inputs(self, branch, views, source):
        vectors = torch.stack([branch[v].pooled(self.level) for v in self.views_of(source)], 1)
        return vectors.flatten(0, 1)  # (B * N, C)

    def record(self, chosen, inputs, projections, predictions, views):
        count = len(self.views_of(chosen))

        def rows(x: Tensor) -> Tensor:
            return x.unflatten(0, (-1, count))

        ids = torch.arange(count, device=inputs.device).expand(len(inputs) // count, -1)
        return record_of(
            projections, predictions, rows, lambda x: rows(x)[:, 0], ids=ids, features=rows(inputs.detach())
        )


@MODELS.register_module()
class Prototypes(Image):
    """The scores of K prototypes as the vector of an image: SwAV and DINO, with any number of crops.

    The projector is a :class:`~densecl.models.necks.PrototypeProjector`. If the pretrainer has
    ``join_views=True``, all crops go through it together. Its batch statistics are then common to crops of
    all sizes, as in both official codes. With ``pairs='crops'`` every crop predicts the assignments of the
    first two.

    Args:
        level: which level of the backbone (or neck) is read.
        freeze: for this many epochs or steps from the start the prototypes are not trained.
        freeze_unit: ``'epoch'`` or ``'step'``.
    """

    gives = frozenset({'scores', 'embeddings', 'features', 'always', 'single'})

    def __init__(self, level: int = -1, freeze: float = 0, freeze_unit: str = 'epoch') -> None:
        super().__init__(level)
        check_choice('Prototypes: freeze_unit', freeze_unit, ('epoch', 'step'))
        self.freeze, self.freeze_unit = freeze, freeze_unit
        self.clock: Clock | None = None

    def frozen(self, projector: nn.Module) -> Sequence[nn.Parameter]:
        """The parameters of the prototypes, while ``freeze`` says so."""
        if (self.clock or Clock()).reached(self.freeze, self.freeze_unit, 'Prototypes.freeze'):
            return ()
        return tuple(projector.prototypes.parameters())

    def project(self, projector, inputs, joint):
        """Set -> embeddings and scores. One matrix product makes the scores of all sets.

        The prototypes are normalised before any pass: autograd does not allow a change between two passes.
        """
        if self.training and torch.is_grad_enabled():
            projector.prototypes.normalize_()
        embeddings = super().project(projector.embed, inputs, joint)
        scores = projector.prototypes(torch.cat(list(embeddings.values())))
        parts = scores.split([len(x) for x in embeddings.values()])
        return {source: (embeddings[source], score) for source, score in zip(embeddings, parts, strict=True)}

    def record(self, chosen, inputs, projections, predictions, views):
        embeddings, scores = projections
        features = inputs.detach()[:, None]
        return Units(scores[:, None], pooled=embeddings, features=features, embeddings=embeddings[:, None])
