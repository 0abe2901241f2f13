"""A backbone one of whose levels passes a linear map."""

from torch import Tensor, nn

from densecl.registry import MODELS


@MODELS.register_module()
class LinearLevel(nn.Module):
    """A network whose level has another basis, or lacks some directions: a 1x1 convolution without bias.

    ``tools/fold_positions.py`` writes checkpoints of it.

    Args:
        network: module config of the backbone, which returns levels (B, C, H, W).
        channels: of the level.
        level: which one.
    """

    def __init__(self, network: dict, channels: int, level: int = -1) -> None:
        super().__init__()
        # Not called backbone: by this name others look for the backbone of a detector.
        self.network, self.level = MODELS.build(network), level
        self.linear = nn.Conv2d(channels, channels, 1, bias=False)
        nn.init.dirac_(self.linear.weight)

    def init_weights(self) -> None:
        """Those of the network."""
        if hasattr(self.network, 'init_weights'):
            self.network.init_weights()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        levels = self.network(x)
        levels = [levels] if isinstance(levels, Tensor) else list(levels)
        levels[self.level] = self.linear(levels[self.level])
        return tuple(levels)
