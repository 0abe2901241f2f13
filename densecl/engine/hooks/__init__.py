"""Hooks of a pretraining run."""

from .checkpoint import PretrainCheckpointHook
from .clip import ClipModulesHook, ClipTensorsHook
from .collapse import CollapseHook
from .data_size import DataSizeHook
from .finite import FiniteStepHook
from .guard import GuardHook
from .heads_first import HeadsFirstHook
from .heartbeat import HeartbeatHook
from .momentum import MomentumUpdateHook
from .probe import ProbeHook
from .progress import ProgressHook
from .runtime_info import DeferredRuntimeInfoHook
from .spikes import SpikeHook
from .terminate import TerminateHook

__all__ = [
    'ClipModulesHook',
    'ClipTensorsHook',
    'CollapseHook',
    'DataSizeHook',
    'DeferredRuntimeInfoHook',
    'FiniteStepHook',
    'GuardHook',
    'HeadsFirstHook',
    'HeartbeatHook',
    'MomentumUpdateHook',
    'PretrainCheckpointHook',
    'ProbeHook',
    'ProgressHook',
    'SpikeHook',
    'TerminateHook',
]
