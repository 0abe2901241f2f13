"""The training step of an encoder pair."""

from .base import Branch, Pretrainer
from .momentum import MomentumPretrainer
from .shared import SharedPretrainer

__all__ = ['Branch', 'MomentumPretrainer', 'Pretrainer', 'SharedPretrainer']
