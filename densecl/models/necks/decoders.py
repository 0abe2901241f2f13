"""What makes the image again from what a masked encoder saw."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from densecl.models.backbones.timm import init_mae, resize_positions, sincos_positions
from densecl.numerics import unit
from densecl.registry import MODELS
from densecl.structures import TokenMask

from .prototypes import WeightNormPrototypes


@MODELS.register_module()
class TransformerDecoder(nn.Module):
    """A light transformer on the visible tokens, and a learned one in place of each that is hidden.

    It is MAE's (He et al., 2022). Its parameters are named as in MAE's code, and initialised as there.

    Args:
        in_channels: of the encoder's tokens.
        out_channels: values of a patch, 3 p^2.
        grid: height and width in patches for which positions are made; other grids are interpolated.
        embed_dim: width of the decoder.
        depth: of its blocks.
        num_heads: attention heads.
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
        """Levels, the last two (B, C, h, w) patches and (B, C, 1, 1) class token -> (B, D, h, w)."""
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
class CrossAttentionPredictor(nn.Module):
    """Asks the visible tokens what is in each hidden place, and scores it with K clusters (CAPI).

    A query is a learned token and a position; it attends to what the encoder returned, never to other queries
    (Darcet et al., 2025). Its output, of length 1, meets weight-normed clusters whose length is trained.

    Args:
        in_channels: of the encoder's tokens.
        clusters: their number K.
        grid: height and width in patches for which positions are made; other grids are interpolated.
        embed_dim: width of the predictor.
        depth: of its blocks.
        num_heads: attention heads.
    """

    def __init__(
        self,
        in_channels: int,
        clusters: int,
        grid: int | Sequence[int] = 16,
        embed_dim: int = 1024,
        depth: int = 12,
        num_heads: int = 16,
    ) -> None:
        super().__init__()
        self.grid = (grid, grid) if isinstance(grid, int) else tuple(grid)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        positions = sincos_positions(self.grid, embed_dim, order='xy')[:, 1:]
        self.pos_embed = nn.Parameter(positions, requires_grad=False)
        self.context = nn.Linear(in_channels, embed_dim)
        self.blocks = nn.ModuleList(_CrossBlock(embed_dim, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        init_mae(self)
        self.clusters = WeightNormPrototypes(embed_dim, clusters, learn_length=True)

    def forward(self, levels: Sequence[Tensor], mask: TokenMask) -> Tensor:
        """Levels, the last two patches and class token -> (B, K, h, w) scores, 0 where nothing is hidden."""
        patches, token = levels[-2], levels[-1]
        grid, cells = patches.shape[2:], patches.flatten(2).transpose(1, 2)
        seen = cells.gather(1, mask.visible_places()[..., None].expand(-1, -1, cells.shape[2]))
        context = self.context(torch.cat([token.flatten(2).transpose(1, 2), seen], 1))
        places = mask.hidden_places()[..., None]
        positions = resize_positions(self.pos_embed, self.grid, grid).expand(len(cells), -1, -1)
        x = self.mask_token + positions.gather(1, places.expand(-1, -1, positions.shape[2]))
        for block in self.blocks:
            x = block(x, context)
        scores = self.clusters(unit(self.norm(x)))
        whole = scores.new_zeros(len(scores), cells.shape[1], scores.shape[2])
        return (
            whole.scatter(1, places.expand(-1, -1, scores.shape[2]), scores)
            .transpose(1, 2)
            .unflatten(2, grid)
        )


class _CrossBlock(nn.Module):
    """Attention of queries to a context, then an MLP, each behind a norm and beside a shortcut."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), context, context, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))
