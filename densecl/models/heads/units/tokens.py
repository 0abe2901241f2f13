"""Class token and patch tokens of a transformer, as scores of prototypes."""

from densecl.registry import MODELS
from densecl.structures import Units

from .base import cells, kind_of, place_of, view_of
from .image import Prototypes
from .masked import hidden_cells, mask_of


@MODELS.register_module()
class TokenPrototypes(Prototypes):
    """The scores of K prototypes of a view's class token and of the patches that its mask hides.

    Three kinds: ``'image'``, one unit an image; ``'patches'``, of which those count that the mask hides
    (iBOT, Zhou et al., 2022; DINOv2, Oquab et al., 2024); and ``'kept'``, the patches whose pixels are the
    image's own: of a view with a corruption those that its mask leaves (de-coupled augmentation, Qiu et al.,
    2024), of another one all. One projector serves all kinds; a head of its own for each has pairs of one
    kind alone. Give each pair its weight.

    Args:
        level: of the backbone (or neck), whose cells are the patches.
        token: the level that is the class token.
        hidden_only: patches that nothing hides are not projected, of student and teacher (DINOv2): as many
            rows an image as the mask hides of any image of the batch. Otherwise all are, so that a centre can
            be the mean of all patches of the teacher (iBOT), and those of ``'kept'`` are.
        **kwargs: see :class:`Prototypes`.
    """

    of_kind = {
        'image': frozenset({'scores', 'embeddings', 'features', 'always', 'single'}),
        'patches': frozenset({'scores', 'embeddings', 'several'}),
        'kept': frozenset({'scores', 'embeddings', 'several', 'grid'}),
    }
    gives = of_kind['image'] | of_kind['patches']

    kinds = tuple(of_kind)

    def __init__(self, level: int = -2, token: int = -1, hidden_only: bool = False, **kwargs) -> None:
        super().__init__(level, **kwargs)
        self.token, self.hidden_only = token, hidden_only

    def gives_of(self, kind):
        whole = kind == 'patches' and not self.hidden_only
        return self.of_kind[kind] | (frozenset({'grid'}) if whole else frozenset())

    def source(self, chosen):
        """Patches that count and those that do not are projected together, but for ``hidden_only``."""
        if kind_of(chosen) == 'image' or (kind_of(chosen) == 'patches' and self.hidden_only):
            return chosen
        return 'cells', view_of(chosen)

    def inputs(self, branch, views, source):
        """(B, C) class tokens, or (B * N, C) patches."""
        kind, view = source
        if kind == 'image':
            return branch[view].pooled(self.token)
        mask = mask_of(views, view) if kind == 'patches' else views.mask(view)
        maps = branch[view][self.level]
        if mask is not None:
            hidden_cells(views, view, maps)  # of the same grid
        rows = cells(maps)
        if kind == 'patches':
            rows = rows.gather(1, mask.hidden_places()[..., None].expand(-1, -1, rows.shape[2]))
        return rows.flatten(0, 1)

    def record(self, chosen, inputs, projections, predictions, views):
        if kind_of(chosen) == 'image':
            return super().record(chosen, inputs, projections, predictions, views)
        batch, view = len(views.indices), view_of(chosen)
        embeddings, scores = (x.unflatten(0, (batch, -1)) for x in projections)
        if kind_of(chosen) == 'kept':
            kept = None if views.replaced(view) is None else ~views.mask(view).hidden.flatten(1)
            return Units(scores, valid=kept, embeddings=embeddings)
        mask = mask_of(views, view)
        hidden = mask.hidden.flatten(1)
        if self.hidden_only:
            hidden = hidden.gather(1, mask.hidden_places())
        place = place_of(views, view, None if self.hidden_only else tuple(mask.hidden.shape[1:]))
        return Units(scores, valid=hidden, place=place, embeddings=embeddings)
