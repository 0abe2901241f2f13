"""What one image and one batch are, and the one mapping between their coordinates."""

from .corruption import Corruption
from .geometry import boxes_to_view, cell_centers, image_to_view, view_to_image
from .masks import BatchMask
from .photometric_params import PhotometricParams
from .proposals import Proposals
from .units import Batch, Comparison, Match, Place, Units
from .views import PretrainDataSample, TokenMask, ViewRegions, Views

__all__ = [
    'Batch',
    'BatchMask',
    'Comparison',
    'Corruption',
    'Match',
    'Place',
    'Units',
    'PhotometricParams',
    'PretrainDataSample',
    'Proposals',
    'TokenMask',
    'ViewRegions',
    'Views',
    'boxes_to_view',
    'cell_centers',
    'image_to_view',
    'view_to_image',
]
