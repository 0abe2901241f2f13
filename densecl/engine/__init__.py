"""Running a training: loop, hooks, log line, launching. The import makes local checkpoint writes atomic."""

from . import hooks
from .files import AtomicLocalBackend
from .log_processor import PretrainLogProcessor
from .loop import PretrainLoop
from .optim import BF16OptimWrapper
from .optimizers import LARS, ParamGroupsConstructor
from .param_schedule import ParamSchedule
from .runner import LRScalingRunner

__all__ = [
    'LARS',
    'AtomicLocalBackend',
    'BF16OptimWrapper',
    'LRScalingRunner',
    'ParamGroupsConstructor',
    'ParamSchedule',
    'PretrainLogProcessor',
    'PretrainLoop',
    'hooks',
]
