"""Optimisers, and the parameter groups they work on."""

from .lars import LARS
from .param_groups import ParamGroupsConstructor

__all__ = ['LARS', 'ParamGroupsConstructor']
