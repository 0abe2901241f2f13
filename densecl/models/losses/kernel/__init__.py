"""Sums over similarity matrices that are never in memory: plain tensors, no queues, no configs."""

from .online_softmax import Keep
from .ring import worth_a_ring
from .tiles import hardest_keys, similarity_logsumexp, tiled_logsumexp, tiled_row_sum

__all__ = ['Keep', 'hardest_keys', 'similarity_logsumexp', 'tiled_logsumexp', 'tiled_row_sum', 'worth_a_ring']
