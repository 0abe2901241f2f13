"""Which unit of the other view is the positive: one file a rule."""

from .maps import ViewMaps
from .similarity import MostSimilar, match_by_similarity

__all__ = ['MostSimilar', 'ViewMaps', 'match_by_similarity']
