"""Everything that the ``MODELS`` registry builds."""

from . import backbones, data_preprocessors, heads, losses, matching, memory, necks, pretrainers

__all__ = [
    'backbones',
    'data_preprocessors',
    'heads',
    'losses',
    'matching',
    'memory',
    'necks',
    'pretrainers',
]
