"""Decoders that reconstruct the image from the output of a masked encoder."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.models.backbones.initial_values import init_mae
from densecl.models.backbones.strided import init_dcgan
from densecl.models.backbones.timm import resize_positions, sincos_positions
from densecl.registry import MODELS
from densecl.structures import TokenMask

from .mlp import ConvMLP


@MODELS.register_module()
class TransformerDecoder(nn.Module):
    """A small transformer on the visible tokens; a learned token replaces each hidden one.

    It is MAE's decoder (He et al., 2022). Names and initial values of its parameters are those of MAE's code.

    Args:
        in_channels: width of the encoder's tokens.
        out_channels: number of values of a patch, 3 p^2.
        grid: height and width, in patches, for which positions are made; for other grids they are
            interpolated.
        embed_dim: width of the decoder.
        depth: number of blocks.
        num_heads: number of attention heads.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        grid: int | Sequence[int] = 14,
        embed_dim: int = 512,
        depth: int = 8,
        num_heads: int = 16,
    ) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        self.grid = (grid, grid) if isinstance(grid, int) else tuple(grid)
        self.decoder_embed = nn.Linear(in_channels, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        fixed = sincos_positions(self.grid, embed_dim, order='xy')
        self.decoder_pos_embed = nn.Parameter(fixed, requires_grad=False)
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.decoder_blocks = nn.Sequential(
            *(Block(embed_dim, num_heads, qkv_bias=True, norm_layer=norm) for _ in range(depth))
        )
        self.decoder_norm = norm(embed_dim)
        self.decoder_pred = nn.Linear(embed_dim, out_channels)
        init_mae(self)

    def forward(self, levels: Sequence[Tensor], mask: TokenMask) -> Tensor:
        """Levels -> (B, D, h, w). The last two are patches (B, C, h, w) and class token (B, C, 1, 1)."""
        patches, token = levels[-2], levels[-1]
        grid = patches.shape[2:]
        shown = self.decoder_embed(patches.flatten(2).transpose(1, 2))
        hidden = mask.hidden.flatten(1)[..., None]
        x = torch.where(hidden, self.mask_token.to(shown.dtype), shown)
        x = torch.cat([self.decoder_embed(token.flatten(2).transpose(1, 2)), x], 1)
        x = x + resize_positions(self.decoder_pos_embed, self.grid, grid)
        x = self.decoder_pred(self.decoder_norm(self.decoder_blocks(x)))[:, 1:]
        return x.transpose(1, 2).unflatten(2, grid)


@MODELS.register_module()
class PixelDecoder(nn.Module):
    """An MLP on every token, then a transposed convolution to pixels (SiT).

    It is for an encoder that sees every patch, some of them corrupted (Atito et al., 2021). The mask is not
    used.

    Args:
        in_channels: width of the encoder's tokens, and of all layers.
        patch: side p of a patch in pixels.
        out_channels: channels of the image.
        depth: number of linear layers, with GELU after each.
        level: the level of the encoder whose cells are the patches.
    """

    def __init__(
        self, in_channels: int, patch: int, out_channels: int = 3, depth: int = 3, level: int = -2
    ) -> None:
        super().__init__()
        self.level = level
        widths = [in_channels] * (depth + 1)
        self.mlp = ConvMLP(widths, activation='GELU', init='trunc_normal')
        self.pixels = nn.ConvTranspose2d(in_channels, out_channels, patch, stride=patch)

    def forward(self, levels: Sequence[Tensor], mask: TokenMask | None = None) -> Tensor:
        """Levels, with patches (B, C, h, w) at ``level`` -> image (B, 3, h * p, w * p)."""
        return self.pixels(F.gelu(self.mlp(levels[self.level])))


@MODELS.register_module()
class BottleneckDecoder(nn.Module):
    """One vector for the whole image, then transposed convolutions: context encoders (Pathak et al., 2016).

    Each 4 x 4 transposed convolution of stride 2 doubles the size. Batch norm and ReLU follow it; after the
    last one there is Tanh, so images are in [-1, 1]. The mask is not used.

    Args:
        in_channels: channels of the encoder's level.
        bottleneck: length of the vector.
        channels: channels of the maps, smallest map first. One more doubling makes the image.
        grid: side of the level, and of the smallest map, in cells.
        out_channels: channels of the image.
        level: which level of the encoder is read.
    """

    def __init__(
        self,
        in_channels: int = 512,
        bottleneck: int = 4000,
        channels: Sequence[int] = (512, 256, 128, 64, 32),
        grid: int = 4,
        out_channels: int = 3,
        level: int = -1,
    ) -> None:
        super().__init__()
        self.level, self.grid = level, grid
        self.encode = nn.Sequential(
            nn.Conv2d(in_channels, bottleneck, grid, bias=False),
            nn.BatchNorm2d(bottleneck),
            nn.LeakyReLU(0.2, inplace=True),
        )
        steps: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(
            zip((bottleneck, *channels), (*channels, out_channels), strict=True)
        ):
            how = dict(stride=2, padding=1) if i else {}
            steps.append(nn.ConvTranspose2d(inputs, outputs, 4 if i else grid, bias=False, **how))
            last = i == len(channels)
            steps += [nn.Tanh()] if last else [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.decode = nn.Sequential(*steps)
        self.apply(init_dcgan)

    def forward(self, levels: Sequence[Tensor], mask: TokenMask | None = None) -> Tensor:
        """Levels, with (B, C, g, g) at ``level`` -> image (B, 3, H, W).

        Raises:
            ValueError: the level has another size.
        """
        x = levels[self.level]
        if x.shape[2:] != (self.grid, self.grid):
            raise ValueError(
                f'BottleneckDecoder: grid={self.grid}, the level has {x.shape[2]} x {x.shape[3]} cells; set '
                'grid to the size of the view over the stride of the backbone'
            )
        return self.decode(self.encode(x))
