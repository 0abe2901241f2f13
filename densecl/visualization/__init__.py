"""Pictures to look at: views, matched cells, detections, segmentations.

Every function takes and returns uint8 RGB arrays (H, W, 3) and leaves its input as it is.
"""

from .answers import draw_pair, draw_puzzle, draw_turn
from .canvas import colors, resized, save_image, side_by_side, stacked, titled
from .groups import assigned, draw_groups, draw_slots, palette_of
from .hooks import PredictionHook
from .matches import draw_matches, draw_true_locations, match_distance, true_locations
from .objects import draw_objects
from .predictions import draw_detections, draw_segmentation
from .views import as_picture, displayable, draw_reconstruction, draw_views, hide_masked

__all__ = [
    'PredictionHook',
    'as_picture',
    'assigned',
    'colors',
    'displayable',
    'draw_detections',
    'draw_groups',
    'draw_matches',
    'draw_objects',
    'draw_pair',
    'draw_puzzle',
    'draw_reconstruction',
    'draw_segmentation',
    'draw_slots',
    'draw_turn',
    'draw_true_locations',
    'draw_views',
    'hide_masked',
    'match_distance',
    'palette_of',
    'resized',
    'save_image',
    'side_by_side',
    'stacked',
    'titled',
    'true_locations',
]
