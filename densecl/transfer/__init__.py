"""Exports a pretraining checkpoint, loads it into other projects' models, and checks both."""

from .check import backbone_features, compare_features, feature_difference
from .export import export_backbone, save_export
from .hooks import PretrainedHook
from .load import load_backbone
from .read import Weights, read_weights
from .report import KeyReport
from .round_trip import check_export
from .start import Start, find_start
from .teachers import TeacherHook

__all__ = [
    'KeyReport',
    'PretrainedHook',
    'TeacherHook',
    'Start',
    'Weights',
    'backbone_features',
    'check_export',
    'compare_features',
    'export_backbone',
    'feature_difference',
    'find_start',
    'load_backbone',
    'read_weights',
    'save_export',
]
