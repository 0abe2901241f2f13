"""What a method remembers of earlier batches."""

from .bank import MemoryBank
from .queue import Queue
from .regions import RegionMemory

__all__ = ['MemoryBank', 'Queue', 'RegionMemory']
