"""What one image and one batch are, and the one mapping between their coordinates."""

from .anchors import assign_anchors, decode_boxes, encode_boxes, overlaps
from .corruption import Corruption
from .geometry import all_corners, boxes_to_view, cell_centers, cell_diagonals, image_to_view, view_to_image
from .masks import BatchMask
from .photometric_params import PhotometricParams
from .proposals import Proposals
from .units import Batch, Comparison, Detections, Match, Place, Units, UnknownPlace, labels_in
from .views import PretrainDataSample, TokenMask, ViewRegions, Views

__all__ = [
    'Batch',
    'BatchMask',
    'Comparison',
    'Corruption',
    'Detections',
    'Match',
    'Place',
    'Units',
    'UnknownPlace',
    'PhotometricParams',
    'PretrainDataSample',
    'Proposals',
    'TokenMask',
    'ViewRegions',
    'Views',
    'all_corners',
    'assign_anchors',
    'boxes_to_view',
    'cell_centers',
    'cell_diagonals',
    'decode_boxes',
    'encode_boxes',
    'image_to_view',
    'overlaps',
    'labels_in',
    'view_to_image',
]
