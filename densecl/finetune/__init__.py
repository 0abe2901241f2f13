"""Fine-tunes a stock mmdet or mmseg model from a pretrained backbone with labelled images."""

from .config import write_config
from .data import TASKS, LabelledData, read_data
from .run import finetune
from .settings import SIZES

__all__ = ['SIZES', 'TASKS', 'LabelledData', 'finetune', 'read_data', 'write_config']
