"""What continued training keeps of its starting backbone: a frozen copy, and batch statistics."""

import copy

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class FrozenStart(nn.Module):
    """A copy of the backbone as it was when training began: no gradient, always in eval mode."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone).requires_grad_(False)

    def train(self, mode: bool = True) -> 'FrozenStart':
        """Stays in eval mode."""
        return super().train(False)


def hold_statistics(module: nn.Module) -> None:
    """Put batch norm into eval mode: it uses its running statistics and does not change them."""
    for layer in module.modules():
        # includes torch's and mmcv's SyncBatchNorm
        if isinstance(layer, _BatchNorm):
            layer.eval()
