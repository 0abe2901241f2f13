"""The training step of an encoder pair."""

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
