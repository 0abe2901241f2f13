"""What a method remembers of earlier batches."""

from .bank import MemoryBank
from .queue import Queue

__all__ = ['MemoryBank', 'Queue']
