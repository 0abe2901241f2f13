"""The training step of an encoder pair."""

from .base import Branch, Pretrainer, SharedPretrainer
from .momentum import MomentumPretrainer

__all__ = ['Branch', 'MomentumPretrainer', 'Pretrainer', 'SharedPretrainer']
