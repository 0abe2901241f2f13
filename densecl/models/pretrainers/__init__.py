"""Pretrainers: the training step of a pair of encoders."""

from .base import Pretrainer, SharedPretrainer
from .branch import Branch
from .momentum import MomentumPretrainer
from .view_maker import ViewMaker, reverse_gradient, within_budget

__all__ = [
    'Branch',
    'MomentumPretrainer',
    'Pretrainer',
    'SharedPretrainer',
    'ViewMaker',
    'reverse_gradient',
    'within_budget',
]
