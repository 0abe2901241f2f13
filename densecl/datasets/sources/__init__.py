"""Sources of images."""

from .base import IMAGE_EXTENSIONS, SENSOR_EXTENSIONS, FileSource, Source, StringTable
from .folder import Folder, ImageNet
from .lists import VOC, CaptionTable, Coco, ListFile
from .tar import TarShards

__all__ = [
    'IMAGE_EXTENSIONS',
    'SENSOR_EXTENSIONS',
    'VOC',
    'CaptionTable',
    'Coco',
    'FileSource',
    'Folder',
    'ImageNet',
    'ListFile',
    'Source',
    'StringTable',
    'TarShards',
]
