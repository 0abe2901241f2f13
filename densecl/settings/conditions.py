"""The input of the rules."""

from dataclasses import dataclass, field

from .machine import Machine
from .photos import Photos


@dataclass(frozen=True)
class Speed:
    """The speed of training steps.

    Attributes:
        photos_per_s: photos per second of training, with all their views and branches.
        source: how this is known, as text for the reasons of settings that depend on it.
        memory: peak memory of a step in bytes, or None if unknown.
    """

    photos_per_s: float
    source: str
    memory: int | None = None


@dataclass(frozen=True)
class Conditions:
    """Photos, machine, time and wishes.

    Attributes:
        photos: description of the photos.
        machine: description of the machine.
        architecture: the backbone's, such as ``'efficientnet-lite0'`` or ``'resnet18'``.
        continued: True: training continues from given weights; False: it starts from random ones.
        transformer: the backbone is a vision transformer.
        hours: the user's budget, or None.
        size: the user's side of a view in pixels, or None.
        method: the user's method, or None.
        speed: measured speed, or None for an estimate.
        parameters: number of the backbone's parameters.
        layers: number of the backbone's layers: stem and stages, or stem and blocks of a transformer.
        patch: side of the patches that are the cells of the backbone in pixels, or its stride, 16.
        recipe_lr: learning rate of the method's small recipe, for 64 photos per step.
        parts: what the method has of ``'queue'``, ``'prototypes'``, ``'momentum'`` (a constant one) and
            ``'branches'`` (residual branches that do not begin at 0).
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
    patch: int = 16
    recipe_lr: float = 0.06
    parts: frozenset[str] = frozenset({'queue', 'momentum'})
