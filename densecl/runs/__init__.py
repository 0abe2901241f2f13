"""Runs: planned, carried out, and read again from their folder."""

from .plan import Plan, make_plan
from .pretrain import pretrain
from .run import Run

__all__ = ['Plan', 'Run', 'make_plan', 'pretrain']
