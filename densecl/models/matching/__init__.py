"""Which unit of the other view is the positive: one file a rule."""

from .attention import SetSimilarity, match_by_attention
from .both_ways import NearestFeature, NearestLocation, nearest_pairs
from .location import ByLocation, match_by_location
from .maps import ViewMaps
from .overlap import overlap_boxes, sample_overlap
from .similarity import MostSimilar, match_by_similarity
from .windows import pooled_boxes, share_area

__all__ = [
    'ByLocation',
    'MostSimilar',
    'NearestFeature',
    'NearestLocation',
    'SetSimilarity',
    'ViewMaps',
    'match_by_attention',
    'match_by_location',
    'match_by_similarity',
    'nearest_pairs',
    'overlap_boxes',
    'pooled_boxes',
    'sample_overlap',
    'share_area',
]
