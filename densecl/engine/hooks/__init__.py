"""Hooks of a pretraining run."""

from .checkpoint import PretrainCheckpointHook
from .collapse import CollapseHook
from .momentum import MomentumUpdateHook
from .runtime_info import DeferredRuntimeInfoHook
from .terminate import TerminateHook

__all__ = [
    'CollapseHook',
    'DeferredRuntimeInfoHook',
    'MomentumUpdateHook',
    'PretrainCheckpointHook',
    'TerminateHook',
]
