"""Optimisers, and the parameter groups they work on."""

from .lars import LARS
from .low_bit import torchao_optimizer
from .param_groups import ParamGroupsConstructor

__all__ = ['LARS', 'ParamGroupsConstructor', 'torchao_optimizer']
