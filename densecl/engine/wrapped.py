"""The model of a runner, which may be wrapped for data-parallel training."""

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel, or the model itself."""
    return model.module if is_model_wrapper(model) else model
