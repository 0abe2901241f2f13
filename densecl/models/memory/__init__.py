"""Memories of earlier batches: queues, and state for each image or class."""

from .journal import Journalled
from .per_image import MemoryBank, PerImage, random_bits
from .queue import Queue
from .regions import RegionMemory

__all__ = ['Journalled', 'MemoryBank', 'PerImage', 'Queue', 'RegionMemory', 'random_bits']
