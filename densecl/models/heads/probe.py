"""A classifier that watches how good the features are."""

from densecl.models.losses import Samples
from densecl.registry import MODELS

from .base import PretrainHead
from .image import pool


@MODELS.register_module()
class LinearProbe(PretrainHead):
    """Linear classifier on pooled features, trained along with them and without touching them.

    No gradient reaches the backbone: the method learns nothing of the labels, the log gains an accuracy
    (BYOL's, SimCLR's and DirectCLR's official codes carry one). Images of label -1 are skipped. It is a head
    like others, beside the method's own::

        heads=dict(image=..., probe=dict(type='LinearProbe', channels=2048, classes=1000))

    Args:
        channels: width of the level.
        classes: number of classes.
        view: which view it sees.
        objective: module config, called with (B, classes) logits.
        level: see :class:`PretrainHead`; so is the last.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        view: int = 0,
        objective: dict | None = None,
        level: int = -1,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(
            projector=dict(type='densecl.MLP', channels=(channels, classes)),
            objective=objective or dict(type='densecl.LabelCrossEntropy'),
            level=level,
            pairs=((view, view),),
            loss_weight=loss_weight,
        )
        self.view = view

    def needed(self, count: int) -> dict[str, set[int]]:
        """One view of the online branch."""
        return {'online': super().needed(count)['online'], 'target': set()}

    def loss(self, online, target, views, target_projector):
        """Cross-entropy and ``accuracy``; see :class:`PretrainHead`."""
        logits = self.projector(pool(online[self.view][self.level]).detach())
        samples = Samples(indices=views.indices, labels=views.labels)
        loss, diagnostics = self.objective(logits, None, samples=samples)
        return {'loss': loss, **diagnostics}
