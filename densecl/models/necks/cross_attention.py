"""CAPI's predictor: queries at hidden places attend to the visible tokens."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.models.backbones.capi import EPS, init_capi
from densecl.models.backbones.drop_path import use_equal_drop_path
from densecl.models.backbones.rotary import Rotary
from densecl.numerics import unit
from densecl.registry import MODELS
from densecl.structures import TokenMask

from .prototypes import WeightNormPrototypes


@MODELS.register_module()
class CrossAttentionPredictor(nn.Module):
    """Predicts hidden places from the visible tokens, as scores of K clusters (CAPI).

    A query is a learned token with the rotary position of its place. It attends to the encoder's tokens, with
    registers, but not to other queries (Darcet et al., 2025). Its output is normalised, then scored by
    weight-normed clusters with a trained length.

    Args:
        in_channels: width of the encoder's tokens.
        clusters: number K of clusters.
        embed_dim: width of the predictor.
        depth: number of blocks.
        num_heads: number of attention heads.
        registers: number of registers of the encoder, a multiple of 4.
        drop_path: probability of stochastic depth, equal in all blocks, see :func:`.use_equal_drop_path`.
    """

    def __init__(
        self,
        in_channels: int,
        clusters: int,
        embed_dim: int = 1024,
        depth: int = 12,
        num_heads: int = 16,
        registers: int = 16,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(1, embed_dim))
        self.rope = Rotary(embed_dim // num_heads, 'capi', registers)
        self.blocks = nn.ModuleList(CrossBlock(embed_dim, num_heads, in_channels) for _ in range(depth))
        if drop_path:
            use_equal_drop_path(self.blocks, drop_path)
        self.norm = nn.RMSNorm(embed_dim, eps=EPS, elementwise_affine=False)
        init_capi(self)
        self.clusters = WeightNormPrototypes(embed_dim, clusters, learn_length=True)
        nn.init.trunc_normal_(self.clusters.weight_v, std=0.02)

    def forward(self, levels: Sequence[Tensor], mask: TokenMask) -> Tensor:
        """Levels -> scores (B, n, K) of the n places that the mask asks for.

        The last two levels are patches (B, C, h, w) and registers (B, C, 1, R).

        Raises:
            ValueError: R is not ``registers``.
        """
        patches, registers = levels[-2], levels[-1].flatten(2).transpose(1, 2)
        if registers.shape[1] != self.rope.registers:
            raise ValueError(
                f'CrossAttentionPredictor: registers={self.rope.registers}, but the last level of the '
                f"backbone has {registers.shape[1]} tokens; take arch='vit_large_patch14_capi' and its number"
            )
        grid, seen, asked = patches.shape[2:], mask.visible_places(), mask.asked_places()
        cells = patches.flatten(2).transpose(1, 2)
        seen_cells = cells.gather(1, seen[..., None].expand(-1, -1, cells.shape[2]))
        context = torch.cat([registers, seen_cells], 1)
        context_table = self.rope.table(self.rope.context(grid, seen))
        table = self.rope.table(self.rope.coordinates(grid, asked))
        x = self.mask_token.expand(*asked.shape, -1)
        for block in self.blocks:
            x = block(x, context, table, context_table)
        return self.clusters(unit(self.norm(x)))


class CrossBlock(nn.Module):
    """Attention of queries to a context, then an MLP; each has a norm before it and a residual connection.

    As in CAPI's predictor, there are no biases.

    Args:
        width: channels of the queries.
        num_heads: number of attention heads.
        context: channels of the context.
    """

    def __init__(self, width: int, num_heads: int, context: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(width, eps=EPS), nn.RMSNorm(width, eps=EPS)
        self.attn = CrossAttention(width, num_heads, context)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width, bias=False), nn.GELU(), nn.Linear(4 * width, width, bias=False)
        )
        self.drop_path1, self.drop_path2 = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor, context: Tensor, turned: Tensor, turned_context: Tensor) -> Tensor:
        """Queries (B, M, C) and context (B, N, C') -> (B, M, C); ``turned`` are the rotary tables of both."""
        x = x + self.drop_path1(self.attn(self.norm1(x), context, turned, turned_context))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class CrossAttention(nn.Module):
    """Attention with queries from one set of tokens, keys and values from another; rotary positions."""

    def __init__(self, width: int, num_heads: int, context: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(context, width, bias=False)
        self.v_proj = nn.Linear(context, width, bias=False)
        self.proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, context: Tensor, turned: Tensor, turned_context: Tensor) -> Tensor:
        from timm.layers import apply_rot_embed_cat

        q = apply_rot_embed_cat(self._split(self.q_proj(x)), turned, half=True)
        k = apply_rot_embed_cat(self._split(self.k_proj(context)), turned_context, half=True)
        v = self._split(self.v_proj(context))
        x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, C / heads)."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
