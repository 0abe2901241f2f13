"""What a run will need, counted before it is started: ``densecl plan CONFIG``."""

from .gpus import GPUS, Gpu
from .resources import ResourcePlan, plan_resources

__all__ = ['GPUS', 'Gpu', 'ResourcePlan', 'plan_resources']
