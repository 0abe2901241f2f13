"""A classifier that measures the quality of the features during training."""

from densecl.registry import MODELS

from .head import Head


@MODELS.register_module()
def LinearProbe(  # noqa: N802
    channels: int,
    classes: int,
    view: int = 0,
    objective: str | dict = 'densecl.LabelCrossEntropy',
    level: int = -1,
    loss_weight: float = 1.0,
) -> Head:
    """Linear classifier on pooled features, trained during pretraining without any effect on the backbone.

    No gradient reaches the backbone: the method does not see the labels. The log shows an accuracy. The
    official codes of BYOL, SimCLR and DirectCLR have such a classifier, too. Images with label -1 are
    skipped. It is one more head beside the method's own::

        heads=dict(image=..., probe=dict(type='LinearProbe', channels=2048, classes=1000))

    Args:
        channels: number of channels of the level.
        classes: number of classes.
        view: which view it reads.
        objective: name or config of the loss.
        level: which level of the backbone (or neck) it reads.
        loss_weight: see :class:`Head`.
    """
    return Head(
        objective,
        units=dict(type='densecl.Image', level=level, detach=True),
        matching='densecl.SameRow',
        projector=dict(type='densecl.MLP', channels=(channels, classes)),
        pairs=((view, view),),
        loss_weight=loss_weight,
    )
