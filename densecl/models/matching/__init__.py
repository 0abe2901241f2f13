"""Matching rules: which unit of the other view answers a unit."""

from .by_location import ByLocation, match_by_location
from .guided import GuidedStopGradient
from .joint_clusters import joint_clusters
from .nearest import MostSimilar, NearestFeature, NearestLocation, match_by_similarity, nearest_pairs
from .overlap import SharedGrid, overlap_boxes, sample_overlap
from .rule import AllOf, AnyOf, Rule
from .same import SameId, SameLabel, SameRow, SameSegment
from .set_similarity import SetSimilarity

__all__ = [
    'AllOf',
    'AnyOf',
    'ByLocation',
    'GuidedStopGradient',
    'MostSimilar',
    'NearestFeature',
    'NearestLocation',
    'Rule',
    'SameId',
    'SameLabel',
    'SameRow',
    'SameSegment',
    'SetSimilarity',
    'SharedGrid',
    'joint_clusters',
    'match_by_location',
    'match_by_similarity',
    'nearest_pairs',
    'overlap_boxes',
    'sample_overlap',
]
