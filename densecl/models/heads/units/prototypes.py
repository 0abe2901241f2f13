"""How a whole image is assigned to prototypes."""

from collections.abc import Sequence

import torch
from torch import nn

from densecl.registry import MODELS
from densecl.schedule import Clock
from densecl.structures import Units

from .image import Image


@MODELS.register_module()
class Prototypes(Image):
    """The scores of K prototypes as the vector of an image: SwAV and DINO, over any number of crops.

    The projector is a :class:`~densecl.models.necks.PrototypeProjector`. All crops pass it together where the
    pretrainer has ``join_views=True``: its batch statistics then mix the crops' sizes, as in both official
    codes. Every crop tells how the first two are assigned: ``pairs='crops'``.

    Args:
        level: of the backbone (or neck).
        freeze: the prototypes stay as they are for so many epochs or steps from the start.
        freeze_unit: ``'epoch'`` or ``'step'``.
    """

    gives = frozenset({'scores', 'embeddings', 'features'})

    def __init__(self, level: int = -1, freeze: float = 0, freeze_unit: str = 'epoch') -> None:
        super().__init__(level)
        if freeze_unit not in ('epoch', 'step'):
            raise ValueError(f"Prototypes: freeze_unit must be 'epoch' or 'step', got {freeze_unit!r}")
        self.freeze, self.freeze_unit = freeze, freeze_unit
        self.clock: Clock | None = None

    def frozen(self, projector: nn.Module) -> Sequence[nn.Parameter]:
        """Those of the prototypes, at the start of the run."""
        clock = self.clock or Clock()
        if not self.freeze or clock.step >= clock.steps(self.freeze, self.freeze_unit, 'Prototypes.freeze'):
            return ()
        return tuple(projector.prototypes.parameters())

    def project(self, projector, inputs, joint):
        """Set -> embeddings and scores; the prototypes are met in one product.

        They get length 1 before any pass: autograd minds a change between two.
        """
        if self.training and torch.is_grad_enabled():
            projector.prototypes.normalize_()
        embeddings = super().project(projector.embed, inputs, joint)
        scores = projector.prototypes(torch.cat(list(embeddings.values()))).chunk(len(embeddings))
        return {source: (embeddings[source], score) for source, score in zip(inputs, scores, strict=True)}

    def record(self, chosen, inputs, projections, predictions, views):
        """One row an image."""
        embeddings, scores = projections
        return Units(
            scores[:, None],
            pooled=embeddings,
            features=inputs.detach()[:, None],
            embeddings=embeddings[:, None],
        )
