"""Sources of images, and the views made of them."""

from . import transforms
from .collate import collate_views
from .decode import decode_image
from .pretrain_dataset import PretrainDataset
from .sampler import PretrainSampler, SampleKey
from .sensor import LoadSensorImage, SensorDecoder
from .sources import VOC, Coco, Folder, ImageNet, ListFile, TarShards
from .statistics import Statistics, estimate_statistics
from .text import EDA, TextDataset, Tokenizer
from .unreadable import UnreadableImageError

__all__ = [
    'EDA',
    'VOC',
    'Coco',
    'Folder',
    'ImageNet',
    'ListFile',
    'LoadSensorImage',
    'PretrainDataset',
    'PretrainSampler',
    'SampleKey',
    'SensorDecoder',
    'Statistics',
    'TarShards',
    'TextDataset',
    'Tokenizer',
    'UnreadableImageError',
    'collate_views',
    'decode_image',
    'estimate_statistics',
    'transforms',
]
