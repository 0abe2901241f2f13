"""Evaluates features without fine-tuning."""

from .collapse import alignment, embedding_statistics, embedding_std, rank_me, uniformity
from .dse import DSE, dense_structure
from .knn import class_accuracy, knn_predict, retrieve_labels
from .linear_classification import linear_predict
from .overclustering import clustering_miou

__all__ = [
    'DSE',
    'alignment',
    'class_accuracy',
    'clustering_miou',
    'dense_structure',
    'embedding_statistics',
    'embedding_std',
    'knn_predict',
    'linear_predict',
    'rank_me',
    'retrieve_labels',
    'uniformity',
]
