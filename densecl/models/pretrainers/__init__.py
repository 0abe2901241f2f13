"""The training step of an encoder pair."""

from .base import Pretrainer, SharedPretrainer
from .branch import Branch
from .momentum import MomentumPretrainer

__all__ = ['Branch', 'MomentumPretrainer', 'Pretrainer', 'SharedPretrainer']
