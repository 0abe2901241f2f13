"""A classifier that watches how good the features are."""

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
    """Linear classifier on pooled features, trained along with them and without touching them.

    No gradient reaches the backbone: the method learns nothing of the labels, the log gains an accuracy
    (BYOL's, SimCLR's and DirectCLR's official codes carry one). Images of label -1 are skipped. It is a head
    like others, beside the method's own::

        heads=dict(image=..., probe=dict(type='LinearProbe', channels=2048, classes=1000))

    Args:
        channels: width of the level.
        classes: number of classes.
        view: which view it sees.
        objective: name or config.
        level: of the backbone (or neck).
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
