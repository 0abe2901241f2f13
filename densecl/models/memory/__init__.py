"""What a method remembers of earlier batches."""

from .queue import Queue

__all__ = ['Queue']
