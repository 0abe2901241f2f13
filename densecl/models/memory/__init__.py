"""What a method remembers of earlier batches."""

from .bank import MemoryBank
from .per_image import PerImage
from .queue import Queue
from .regions import RegionMemory

__all__ = ['MemoryBank', 'PerImage', 'Queue', 'RegionMemory']
