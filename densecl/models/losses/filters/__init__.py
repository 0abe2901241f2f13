"""Which candidates are false negatives."""

from .clusters import Clusters
from .glofnd import GloFND
from .similar_images import SimilarImages

__all__ = ['Clusters', 'GloFND', 'SimilarImages']
