"""Running: loop, hooks, log line, launching. Importing it makes local checkpoint writes atomic."""

from . import hooks
from .files import AtomicLocalBackend
from .log_processor import PretrainLogProcessor
from .loop import PretrainLoop
from .optim import BF16OptimWrapper

__all__ = ['AtomicLocalBackend', 'BF16OptimWrapper', 'PretrainLogProcessor', 'PretrainLoop', 'hooks']
