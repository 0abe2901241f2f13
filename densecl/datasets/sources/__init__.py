"""Where images come from."""

from .base import IMAGE_EXTENSIONS, SENSOR_EXTENSIONS, FileSource, Source, StringTable
from .folder import Folder, ImageNet
from .lists import VOC, Coco, ListFile
from .tar import TarShards

__all__ = [
    'IMAGE_EXTENSIONS',
    'SENSOR_EXTENSIONS',
    'VOC',
    'Coco',
    'FileSource',
    'Folder',
    'ImageNet',
    'ListFile',
    'Source',
    'StringTable',
    'TarShards',
]
