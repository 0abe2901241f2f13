"""Sums over similarity matrices that are never in memory: plain tensors, no queues, no configs."""

from .online_softmax import Keep
from .ring import worth_a_ring
from .tile_functions import tiled_logsumexp, tiled_row_sum
from .tiles import hardest_keys, similarity_logsumexp, similarity_statistics

__all__ = [
    'Keep',
    'hardest_keys',
    'similarity_logsumexp',
    'similarity_statistics',
    'tiled_logsumexp',
    'tiled_row_sum',
    'worth_a_ring',
]
