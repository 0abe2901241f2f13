"""Objectives: ``functional`` holds the mathematics, the modules add choices and state."""

from . import functional
from .assignment import SelfDistillation, SwappedPrediction
from .bank_nce import NCE
from .combined import Sum
from .consistency import MultiPositive
from .contrast import InfoNCE
from .cosine import Cosine
from .filters import Clusters, GloFND, SimilarImages
from .labels import LabelCrossEntropy, PrototypeAlignment
from .masks import MaskContrast
from .mixing import Mixing
from .moving_average import MovingAverage, PerSampleTemperature
from .negatives import Debiased, Hard, Negatives
from .objective import Objective
from .positives import Decoupled, Positives, Reweighted, SameLabel
from .samples import Samples
from .statistics import BarlowTwins, PositionVICReg, VICReg
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
    'Cosine',
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
    'Negatives',
    'Objective',
    'PerSampleTemperature',
    'PositionVICReg',
    'Positives',
    'PrototypeAlignment',
    'Reweighted',
    'SameLabel',
    'Samples',
    'SelfDistillation',
    'SimilarImages',
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
