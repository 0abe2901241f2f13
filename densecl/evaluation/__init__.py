"""What tells whether features are any good without fine-tuning."""

from .collapse import alignment, effective_rank, embedding_statistics, embedding_std, uniformity

__all__ = ['alignment', 'effective_rank', 'embedding_statistics', 'embedding_std', 'uniformity']
