"""What tells whether features are any good without fine-tuning."""

from .collapse import alignment, embedding_statistics, embedding_std, rank_me, uniformity
from .knn import class_accuracy, knn_predict

__all__ = [
    'alignment',
    'class_accuracy',
    'embedding_statistics',
    'embedding_std',
    'knn_predict',
    'rank_me',
    'uniformity',
]
