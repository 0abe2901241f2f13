"""A backbone with a linear map on one of its levels."""

from torch import Tensor, nn

from densecl.registry import MODELS


@MODELS.register_module()
class LinearLevel(nn.Module):
    """A network and a 1x1 convolution without bias that changes the basis of a level or removes directions.

    The convolution starts as the identity. ``tools/fold_positions.py`` writes checkpoints of such a backbone.

    Args:
        network: module config of the backbone, which returns levels (B, C, H, W).
        channels: number C of channels of the level.
        level: which level of the network is mapped.
    """

    def __init__(self, network: dict, channels: int, level: int = -1) -> None:
        super().__init__()
        # Not called backbone: other code looks for the backbone of a detector by this name.
        self.network, self.level = MODELS.build(network), level
        self.linear = nn.Conv2d(channels, channels, 1, bias=False)
        nn.init.dirac_(self.linear.weight)

    def init_weights(self) -> None:
        """Call the network's own ``init_weights``, if it has one."""
        if hasattr(self.network, 'init_weights'):
            self.network.init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        levels = self.network(x)
        levels = [levels] if isinstance(levels, Tensor) else list(levels)
        levels[self.level] = self.linear(levels[self.level])
        return tuple(levels)
