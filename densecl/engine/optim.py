"""Mixed precision without loss scaling."""

from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper

from densecl.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BF16OptimWrapper(OptimWrapper):
    """Runs the forward pass in bfloat16 where that is safe, on any device.

    bfloat16 has float32's range, so nothing is scaled and no step is ever skipped; mmengine's
    ``AmpOptimWrapper`` insists on a CUDA device and a gradient scaler. The arguments are those of
    ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: torch.nn.Module):
        """The context of a training step."""
        with super().optim_context(model), torch.autocast(get_device(), dtype=torch.bfloat16):
            yield
