"""Counts what a run will need before it starts: ``densecl plan CONFIG``."""

from .gpus import GPUS, Gpu
from .resources import ResourcePlan, plan_resources

__all__ = ['GPUS', 'Gpu', 'ResourcePlan', 'plan_resources']
