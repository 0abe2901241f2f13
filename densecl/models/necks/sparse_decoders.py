"""Decoders after a convolutional encoder with a mask: hidden cells are filled, then the map is decoded."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from densecl.messages import check_choice
from densecl.models.active import active_like, only_active
from densecl.models.patches import patches_of
from densecl.registry import MODELS
from densecl.structures import TokenMask

from .norms import LayerNorm2d


class Densify(nn.Module):
    """(B, C, H, W), 0 at hidden cells -> (B, D, H, W): normalise visible cells, put a learned token into
    hidden ones.

    Args:
        channels: C.
        width: D.
        norm: ``'BN'``: batch norm over the visible positions; ``'LN'``: over the channels of each; or None.
        kernel_size: of the convolution to D; None: no convolution, and D is C.
    """

    def __init__(self, channels: int, width: int, norm: str | None, kernel_size: int | None) -> None:
        super().__init__()
        self.norm = _NORMS[norm](channels)
        self.mask_token = nn.Parameter(torch.zeros(1, channels, 1, 1))
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)
        self.proj = nn.Identity()
        if kernel_size is not None:
            self.proj = nn.Conv2d(channels, width, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor, active: Tensor) -> Tensor:
        """``active`` (B, h, w) bool: the visible cells of ``x``."""
        with only_active(self.norm, active):
            x = self.norm(x)
        return self.proj(torch.where(active_like(active, x), x, self.mask_token.to(x.dtype)))


@MODELS.register_module()
class UNetDecoder(nn.Module):
    """SparK's decoder (Tian et al., ICLR 2023): densify each level, then double the size in each block.

    The deepest level is the smallest map. Each other level has twice the size of the next deeper one, and is
    added before a block.

    Args:
        channels: channels of the encoder's levels, shallow to deep; (256, 512, 1024, 2048) for a ResNet-50.
        patch: stride of the deepest level, the side of its cells in pixels of the image: a power of 2. There
            are log2(patch) blocks.
        width: channels at the deepest level; each block halves them.
        norm: norm of the levels: ``'BN'`` (ResNet), ``'LN'`` (ConvNeXt) or None. Blocks have batch norm over
            all positions.
        image_channels: channels of the image.

    Raises:
        ValueError: ``patch`` is not a power of 2, ``width`` cannot be halved that often, or there are too
            many levels.
    """

    def __init__(
        self,
        channels: Sequence[int],
        patch: int = 32,
        width: int = 768,
        norm: str | None = 'BN',
        image_channels: int = 3,
    ) -> None:
        super().__init__()
        blocks = patch.bit_length() - 1
        if patch < 2 or 2**blocks != patch or width % patch:
            raise ValueError(
                'UNetDecoder: patch must be a power of 2 and divide width, got '
                f'patch={patch} and width={width}'
            )
        if len(channels) > blocks:
            raise ValueError(
                f'UNetDecoder: patch={patch} makes {blocks} blocks, one a level, but channels has '
                f'{len(channels)} levels'
            )
        check_choice('UNetDecoder: norm', norm, _NORMS)
        self.patch, widths = patch, [width >> i for i in range(blocks + 1)]
        self.densify = nn.ModuleList()
        for i, (c, d) in enumerate(zip(reversed(channels), widths, strict=False)):
            kernel_size = (None if c == d else 1) if i == 0 else 3
            self.densify.append(Densify(c, d, norm, kernel_size))
        self.blocks = nn.ModuleList(map(_up, widths, widths[1:]))
        self.proj = nn.Conv2d(widths[-1], image_channels, 1)
        for part in (self.blocks, self.proj):
            part.apply(_initialise)

    def forward(self, levels: Sequence[Tensor], mask: TokenMask) -> Tensor:
        """Levels (B, C, H, W), shallow to deep -> (B, p * p * 3, h, w), one cell for each cell of the mask.

        Raises:
            ValueError: the number of levels is not that of ``channels``, or they do not double in size.
        """
        if len(levels) != len(self.densify):
            raise ValueError(
                f'UNetDecoder: channels says {len(self.densify)} levels, the backbone gives {len(levels)}; '
                'its out_indices must be those of channels'
            )
        active, x = ~mask.hidden, None
        inputs = [densify(y, active) for densify, y in zip(self.densify, reversed(levels), strict=True)]
        for i, block in enumerate(self.blocks):
            if i < len(inputs):
                x = inputs[i] if x is None else _sum(x, inputs[i])
            x = block(x)
        cell = x.shape[-1] // mask.hidden.shape[-1]
        return patches_of(self.proj(x), cell)


@MODELS.register_module()
class ConvNeXtDecoder(nn.Module):
    """FCMAE's decoder (Woo et al., CVPR 2023): blocks of ConvNeXt V2 on the deepest level.

    Args:
        in_channels: channels of the deepest level.
        out_channels: number of values of a patch, 3 p^2.
        embed_dim: width of the decoder.
        depth: number of blocks.
    """

    def __init__(self, in_channels: int, out_channels: int, embed_dim: int = 512, depth: int = 1) -> None:
        super().__init__()
        from timm.models.convnext import ConvNeXtBlock

        self.proj = nn.Conv2d(in_channels, embed_dim, 1)
        self.mask_token = nn.Parameter(torch.zeros(1, embed_dim, 1, 1))
        block = partial(ConvNeXtBlock, embed_dim, use_grn=True, ls_init_value=None)
        self.blocks = nn.Sequential(*(block() for _ in range(depth)))
        self.pred = nn.Conv2d(embed_dim, out_channels, 1)
        self.apply(_initialise)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, levels: Sequence[Tensor], mask: TokenMask) -> Tensor:
        """Levels -> (B, D, h, w). The last level (B, C, h, w) must have the grid of the mask."""
        x = self.proj(levels[-1])
        x = torch.where(active_like(~mask.hidden, x), x, self.mask_token.to(x.dtype))
        return self.pred(self.blocks(x))


_NORMS = {'BN': nn.BatchNorm2d, 'LN': LayerNorm2d, None: nn.Identity}


def _up(channels: int, width: int) -> nn.Sequential:
    """(B, C, H, W) -> (B, width, 2 H, 2 W)."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU6(inplace=True),
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
    )


def _sum(x: Tensor, level: Tensor) -> Tensor:
    if x.shape != level.shape:
        raise ValueError(
            f'UNetDecoder: a level of shape {tuple(level.shape)} where the next deeper one makes '
            f'{tuple(x.shape)}; each level must have twice the size of the next deeper one: choose '
            'the out_indices of the backbone and channels so'
        )
    return x + level


def _initialise(layer: nn.Module) -> None:
    """Initial weights as in the official codes of SparK and ConvNeXt V2."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(layer.weight, std=0.02)
    elif isinstance(layer, nn.ConvTranspose2d):
        nn.init.kaiming_normal_(layer.weight, mode='fan_out', nonlinearity='relu')
    else:
        return
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
