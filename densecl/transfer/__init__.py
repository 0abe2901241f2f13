"""From a pretraining checkpoint to somebody else's model: exporting, loading, and checking both."""

from .check import backbone_features, compare_features, feature_difference
from .export import export_backbone, save_export
from .hooks import PretrainedHook
from .load import load_backbone
from .read import Weights, read_weights
from .report import KeyReport

__all__ = [
    'KeyReport',
    'PretrainedHook',
    'Weights',
    'backbone_features',
    'compare_features',
    'export_backbone',
    'feature_difference',
    'load_backbone',
    'read_weights',
    'save_export',
]
