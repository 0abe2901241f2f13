"""What the rules know before they decide."""

from dataclasses import dataclass, field

from .machine import Machine
from .photos import Photos


@dataclass(frozen=True)
class Speed:
    """How fast a training step is.

    Attributes:
        photos_per_s: photos that a second of training takes in, all their views and branches counted.
        source: how this is known, for the reason of settings that depend on it.
        memory: bytes in use at the peak of a step, or None where that is not known.
    """

    photos_per_s: float
    source: str
    memory: int | None = None


@dataclass(frozen=True)
class Conditions:
    """Photos, machine, time and wishes.

    Attributes:
        photos: what the photos are like.
        machine: what there is to train on.
        architecture: of the backbone, such as ``'efficientnet-lite0'`` or ``'resnet18'``.
        continued: training goes on from weights; otherwise it begins at random ones.
        transformer: the backbone is a vision transformer.
        hours: the user's budget, or None.
        size: the user's side of a view in pixels, or None.
        method: the user's method, or None.
        speed: measured, or None for an estimate.
        parameters: of the backbone.
        layers: of the backbone, stem and stages, or stem and blocks of a transformer.
        recipe_lr: learning rate of the method's small recipe, which is made for 64 photos a step.
        parts: which of ``'queue'``, ``'prototypes'`` and ``'momentum'`` (a constant one) the method has.
    """

    photos: Photos
    machine: Machine = field(default_factory=Machine)
    architecture: str = 'resnet18'
    continued: bool = True
    transformer: bool = False
    hours: float | None = None
    size: int | None = None
    method: str | None = None
    speed: Speed | None = None
    parameters: int = 11_200_000
    layers: int = 5
    recipe_lr: float = 0.06
    parts: frozenset[str] = frozenset({'queue', 'momentum'})
