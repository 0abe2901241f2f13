"""Which unit of the other view answers: one file a rule."""

from .by_location import ByLocation, match_by_location
from .combined import AllOf, AnyOf
from .most_similar import MostSimilar, match_by_similarity
from .nearest import NearestFeature, NearestLocation, nearest_pairs
from .overlap import overlap_boxes, sample_overlap
from .rule import Rule
from .same_id import SameId
from .same_label import SameLabel
from .same_row import SameRow
from .set_similarity import SetSimilarity
from .shared_grid import SharedGrid
from .windows import pooled_boxes, share_area

__all__ = [
    'AllOf',
    'AnyOf',
    'ByLocation',
    'MostSimilar',
    'NearestFeature',
    'NearestLocation',
    'Rule',
    'SameId',
    'SameLabel',
    'SameRow',
    'SetSimilarity',
    'SharedGrid',
    'match_by_location',
    'match_by_similarity',
    'nearest_pairs',
    'overlap_boxes',
    'pooled_boxes',
    'sample_overlap',
    'share_area',
]
