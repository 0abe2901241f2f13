"""Optimisers, and the parameter groups they work on."""

from .lamb import lamb
from .lars import LARS
from .low_bit import torchao_optimizer
from .param_groups import ParamGroupsConstructor

__all__ = ['LARS', 'ParamGroupsConstructor', 'lamb', 'torchao_optimizer']
