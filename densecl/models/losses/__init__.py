"""Objectives: ``functional`` holds the mathematics, the modules add choices and state."""

from . import functional
from .anchors import PrototypeAlignment
from .combined import Sum
from .consistency import PixelConsistency
from .contrast import InfoNCE
from .distillation import SelfDistillation
from .labelled import LabelCrossEntropy
from .local import PositionVICReg, RegionConsistency
from .masses import Debiased, Hard, Mixing
from .nce import NCE
from .objective import Objective
from .parts import Filter, Mass, Temperature
from .redundancy import BarlowTwins, VICReg
from .regression import NegativeCosine
from .samples import Samples
from .slots import SlotContrast, Slots
from .swapped import SwappedPrediction
from .temperatures import (
    AlignmentAdaptiveTemperature,
    LearnedTemperature,
    TemperatureFree,
    UncertaintyTemperature,
)
from .triplet import Triplet

__all__ = [
    'AlignmentAdaptiveTemperature',
    'BarlowTwins',
    'Debiased',
    'Filter',
    'Hard',
    'InfoNCE',
    'LabelCrossEntropy',
    'LearnedTemperature',
    'Mass',
    'Mixing',
    'NCE',
    'NegativeCosine',
    'Objective',
    'PixelConsistency',
    'PositionVICReg',
    'PrototypeAlignment',
    'RegionConsistency',
    'Samples',
    'SelfDistillation',
    'SlotContrast',
    'Slots',
    'Sum',
    'SwappedPrediction',
    'Temperature',
    'TemperatureFree',
    'Triplet',
    'UncertaintyTemperature',
    'VICReg',
    'functional',
]
