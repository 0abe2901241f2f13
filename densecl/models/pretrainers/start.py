"""What a continuation keeps of the backbone that it started from: a frozen copy, and batch statistics."""

import copy

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class FrozenStart(nn.Module):
    """The backbone as it was when training began; no gradient reaches it, and it is always in eval mode."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone).requires_grad_(False)

    def train(self, mode: bool = True) -> 'FrozenStart':
        """Stays in eval mode."""
        return super().train(False)


def hold_statistics(module: nn.Module) -> None:
    """Put batch norm into eval mode: it applies the statistics that it has, and does not change them."""
    for layer in module.modules():
        # torch's SyncBatchNorm is one of them; mmcv's too
        if isinstance(layer, _BatchNorm):
            layer.eval()
