"""Objectives (losses), one file a family. Each scores a comparison; ``functional`` has plain functions."""

from . import functional
from .adversarial import Adversarial
from .assignment import SwappedPrediction
from .bank_nce import NCE
from .box_regression import BoxRegression
from .codes import CodeCrossEntropy, Commitment, SoftCrossEntropy
from .contrast import InfoNCE
from .cosine import Cosine
from .f_mutual_information import FMutualInformation
from .filters.base import Filter
from .filters.clusters import Clusters
from .filters.glofnd import GloFND
from .filters.similar_images import SimilarImages
from .in_context import InContext
from .koleo import KoLeo
from .labels import LabelCrossEntropy, PrototypeAlignment
from .masses import Debiased, Hard, Mass, Mixing
from .moving_average import MovingAverage, PerSampleTemperature
from .neighbour_distillation import NeighbourDistillation
from .neighbour_order import NeighbourOrder
from .objective import Objective, Sum
from .online_clusters import OnlineClusters
from .queue_distillation import QueueDistillation
from .reconstruction import Reconstruction
from .regression import Regression
from .relations import Gram, KernelAlignment, SimilarityRows
from .self_distillation import SelfDistillation
from .sigmoid import SigmoidContrast
from .statistics import BarlowTwins, PositionVICReg, VICReg
from .temperatures import (
    AlignmentAdaptiveTemperature,
    LearnedTemperature,
    Temperature,
    TemperatureFree,
    UncertaintyTemperature,
)
from .triplet import Triplet

__all__ = [
    'Adversarial',
    'Reconstruction',
    'AlignmentAdaptiveTemperature',
    'BarlowTwins',
    'BoxRegression',
    'Clusters',
    'CodeCrossEntropy',
    'Commitment',
    'Cosine',
    'Debiased',
    'FMutualInformation',
    'Filter',
    'GloFND',
    'Gram',
    'Hard',
    'InContext',
    'InfoNCE',
    'KernelAlignment',
    'KoLeo',
    'LabelCrossEntropy',
    'LearnedTemperature',
    'Mass',
    'Mixing',
    'MovingAverage',
    'NCE',
    'NeighbourDistillation',
    'NeighbourOrder',
    'Objective',
    'OnlineClusters',
    'PerSampleTemperature',
    'PositionVICReg',
    'PrototypeAlignment',
    'QueueDistillation',
    'Regression',
    'SelfDistillation',
    'SimilarImages',
    'SigmoidContrast',
    'SimilarityRows',
    'SoftCrossEntropy',
    'Sum',
    'SwappedPrediction',
    'Temperature',
    'TemperatureFree',
    'Triplet',
    'UncertaintyTemperature',
    'VICReg',
    'functional',
]
