"""Plain strided convolutions: the encoder of Context Encoders, and a discriminator."""

from collections.abc import Sequence

from torch import Tensor, nn

from densecl.registry import MODELS


@MODELS.register_module()
class StridedConvs(nn.Sequential):
    """(B, C0, H, W) -> one level (B, Cn, H / 2^n, W / 2^n): n convolutions of 4 x 4 with stride 2.

    Each is followed by batch norm (except the first) and a LeakyReLU with slope 0.2. The convolutions have
    no bias (Radford et al., 2016; Pathak et al., 2016).

    Args:
        channels: C0 to Cn: channels of the input, then of the output of each convolution.
    """

    def __init__(self, channels: Sequence[int] = (3, 64, 64, 128, 256, 512)) -> None:
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(zip(channels[:-1], channels[1:], strict=True)):
            layers.append(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(outputs)] if i else []
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        super().__init__(*layers)
        self.apply(init_dcgan)


def init_dcgan(layer: nn.Module) -> None:
    """Weights of convolutions are normal around 0, scales of batch norms around 1, both with std 0.02."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, std=0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)


@MODELS.register_module()
class Discriminator(nn.Module):
    """Images (B, C0, H, W) -> logits (B, 1, h, w) that they are real, as in DCGAN (Radford et al., 2016).

    Args:
        channels: see :class:`StridedConvs`.
        grid: kernel size of the last convolution. If this is the side of the map, there is one logit for
            each image.
    """

    def __init__(self, channels: Sequence[int] = (3, 64, 128, 256, 512), grid: int = 4) -> None:
        super().__init__()
        self.trunk = StridedConvs(channels)
        self.logit = nn.Conv2d(channels[-1], 1, grid, bias=False)
        init_dcgan(self.logit)

    def forward(self, images: Tensor) -> Tensor:
        return self.logit(self.trunk(images))
