"""What one image and one batch are, and the one mapping between their coordinates."""

from .geometry import cell_centers, image_to_view, view_to_image
from .views import PhotometricParams, PretrainDataSample, Views

__all__ = [
    'PhotometricParams',
    'PretrainDataSample',
    'Views',
    'cell_centers',
    'image_to_view',
    'view_to_image',
]
