"""Where images come from, and the views made of them."""

from . import transforms
from .collate import collate_views
from .decode import UnreadableImageError, decode_image
from .pretrain_dataset import PretrainDataset
from .sampler import PretrainSampler, SampleKey
from .sources import VOC, Coco, Folder, ImageNet, ListFile, TarShards

__all__ = [
    'VOC',
    'Coco',
    'Folder',
    'ImageNet',
    'ListFile',
    'PretrainDataset',
    'PretrainSampler',
    'SampleKey',
    'TarShards',
    'UnreadableImageError',
    'collate_views',
    'decode_image',
    'transforms',
]
