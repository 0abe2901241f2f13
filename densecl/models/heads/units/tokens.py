"""Class token and patch tokens of a transformer, as scores of prototypes."""

from densecl.registry import MODELS
from densecl.structures import Units

from .base import cells, kind_of, place_of, view_of
from .image import Prototypes
from .masked import hidden_cells, mask_of


@MODELS.register_module()
class TokenPrototypes(Prototypes):
    """The scores of K prototypes for a view's class token and for the patches that its mask hides.

    There are three kinds of units:

    - ``'image'``: the class token, one unit an image.
    - ``'patches'``: all patches; only those that the mask hides count (iBOT, Zhou et al., 2022; DINOv2, Oquab
      et al., 2024).
    - ``'kept'``: the patches whose pixels are the image's own. In a view with a corruption they are those
      outside of its mask (de-coupled augmentation, Qiu et al., 2024); in other views they are all patches.

    All kinds share one projector. For separate projectors use several heads, each with pairs of one kind.
    Give each pair its weight.

    Args:
        level: the level of the backbone (or neck) whose cells are the patches.
        token: the level that is the class token.
        hidden_only: project only hidden patches, of student and teacher (DINOv2). The number of rows an image
            is the largest number of hidden patches in the batch. Otherwise all patches are projected, so that
            a centre can be the mean over all patches of the teacher (iBOT). ``'kept'`` always projects all.
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
        if kind == 'patches' and self.hidden_only:
            return self.of_kind[kind]
        return self.of_kind[kind] | {'equal count'} | ({'grid', 'place'} if kind == 'patches' else set())

    def source(self, chosen):
        """All patches of a view are projected together, except with ``hidden_only``."""
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
            hidden_cells(views, view, maps)  # checks that mask and level have the same grid
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
