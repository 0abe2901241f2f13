"""Objectives: ``functional`` holds the mathematics, the modules add choices and state."""

from . import functional
from .anchors import PrototypeAlignment
from .combined import Sum
from .consistency import MultiPositive, PixelConsistency
from .contrast import InfoNCE
from .distillation import SelfDistillation
from .filters import Clusters, GloFND, SimilarImages
from .labelled import LabelCrossEntropy
from .local import PositionVICReg, RegionConsistency
from .masks import MaskContrast
from .mixing import Mixing
from .nce import NCE
from .negatives import Debiased, Hard, Negatives
from .moving_average import MovingAverage, PerSampleTemperature
from .positives import Decoupled, Positives, Reweighted, SameLabel
from .redundancy import BarlowTwins, VICReg
from .regression import NegativeCosine
from .samples import Samples
from .slots import SlotContrast, Slots
from .swapped import SwappedPrediction
from .temperatures import (
    AlignmentAdaptiveTemperature,
    LearnedTemperature,
    Temperature,
    TemperatureFree,
    UncertaintyTemperature,
)
from .triplet import Triplet
from .windows import WindowInfoNCE

__all__ = [
    'AlignmentAdaptiveTemperature',
    'BarlowTwins',
    'Clusters',
    'Debiased',
    'Decoupled',
    'GloFND',
    'Hard',
    'InfoNCE',
    'LabelCrossEntropy',
    'LearnedTemperature',
    'MaskContrast',
    'Mixing',
    'MovingAverage',
    'MultiPositive',
    'NCE',
    'NegativeCosine',
    'Negatives',
    'PerSampleTemperature',
    'PixelConsistency',
    'PositionVICReg',
    'Positives',
    'PrototypeAlignment',
    'RegionConsistency',
    'Reweighted',
    'SameLabel',
    'Samples',
    'SelfDistillation',
    'SimilarImages',
    'SlotContrast',
    'Slots',
    'Sum',
    'SwappedPrediction',
    'Temperature',
    'TemperatureFree',
    'Triplet',
    'UncertaintyTemperature',
    'VICReg',
    'WindowInfoNCE',
    'functional',
]
