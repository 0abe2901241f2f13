"""The plain transformer of a detector: attention in windows in most blocks, and relative positions."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.registry import MODELS

from .recompute import recompute_blocks
from .timm import TimmViT, resize_positions


@MODELS.register_module()
class ViTDet(TimmViT):
    """A ViT for large images (ViTDet: Li, Mao, Girshick, He, ECCV 2022): it has maps, but no class token.

    With ``relative_positions=False`` and ``window=None`` it is :class:`.TimmViT` without class token.
    Relative positions start at zero, so at first they do not change a pretrained network.

    Args:
        arch: timm's name of a ViT without register tokens, whose positions are added to the tokens.
        window: side of the windows in patches. Maps that are no multiple of it are padded with zeros after
            the block's first norm; the padding takes part in attention, as in the official code. None: all
            blocks are global.
        global_blocks: blocks, counted from 0, whose cells attend to the whole map.
        relative_positions: attention also scores the distance of rows and of columns, see
            :func:`map_attention`. The tables of global blocks are made for ``img_size`` and interpolated.
        checkpoint_activations: recompute the blocks in the backward pass.
        final_norm: apply the ViT's final norm to the last block's map.
        **kwargs: see :class:`.TimmViT`: ``img_size``, ``out_indices``, ``drop_path``, ...

    Raises:
        ValueError: the network has tokens, positions or attention of another kind; there is no such global
            block; or the window is not positive.
    """

    def __init__(
        self,
        arch: str = 'vit_base_patch16_224',
        window: int | None = 14,
        global_blocks: Sequence[int] = (2, 5, 8, 11),
        relative_positions: bool = True,
        checkpoint_activations: bool = False,
        final_norm: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(arch, output_cls_token=False, final_norm=final_norm, **kwargs)
        if self.pos_embed is None or self.extra_tokens != 1 or self.hides or self.output_attention:
            raise ValueError(
                'ViTDet: arch must be a ViT whose positions are added, without register tokens, hidden and '
                f"output_attention, got {arch!r}; take such as 'vit_base_patch16_224', or TimmViT"
            )
        if window is not None and window < 1:
            raise ValueError(f'ViTDet: window must be a side in patches, above 0, or None, got {window}')
        depth = len(self.blocks)
        if not all(0 <= i < depth for i in global_blocks):
            raise ValueError(f'ViTDet: global_blocks must be in 0..{depth - 1}, got {tuple(global_blocks)}')
        self.cls_token, self.extra_tokens = None, 0
        for i, block in enumerate(self.blocks):
            side = None if i in global_blocks else window
            grid = self.patch_embed.grid_size if relative_positions else None
            block.attn = MapAttention(block.attn, side, grid)
        if checkpoint_activations:
            recompute_blocks(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> (B, C, H / p, W / p), rounded up, for each block of ``out_indices``."""
        patches = self.patch_embed(x)  # (B, h, w, C)
        grid = patches.shape[1:3]
        positions = resize_positions(self.pos_embed, self.patch_embed.grid_size, grid)
        positions = positions[:, -grid.numel() :].unflatten(1, grid)
        cells = self.norm_pre(self.pos_drop(patches + positions))
        return self._blocks(cells, nn.Identity(), [{}] * len(self.blocks), False)


class MapAttention(nn.Module):
    """Attention among the cells of a map, or of each of its windows, with the layers of timm's attention.

    Args:
        attention: timm's attention; its parameters keep their names.
        window: side of the windows in cells; None: the whole map.
        grid: h, w of the map that relative positions are made for; None: no relative positions.
    """

    def __init__(self, attention: nn.Module, window: int | None, grid: Sequence[int] | None) -> None:
        super().__init__()
        self.num_heads, self.window = attention.num_heads, window
        self.qkv, self.proj = attention.qkv, attention.proj
        self.q_norm, self.k_norm = attention.q_norm, attention.k_norm
        if attention.attn_drop.p or attention.proj_drop.p:
            raise ValueError(
                'ViTDet: attention has no dropout here: leave out attn_drop_rate and proj_drop_rate'
            )
        if lost := attention.state_dict().keys() - self.state_dict().keys():
            raise ValueError(
                f'ViTDet: attention with {", ".join(sorted(lost))} is not known; take another arch'
            )
        self.rel_pos_h = self.rel_pos_w = None
        if grid is not None:
            sides = grid if window is None else (window, window)
            width = self.qkv.in_features // self.num_heads
            self.rel_pos_h, self.rel_pos_w = (nn.Parameter(torch.zeros(2 * n - 1, width)) for n in sides)

    def forward(self, x: Tensor, attn_mask: None = None, is_causal: bool = False) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C). timm's blocks pass the other arguments; they have no effect here."""
        if self.window is None:
            return self._attend(x)
        return join_windows(self._attend(split_windows(x, self.window)), x.shape[1:3])

    def _attend(self, x: Tensor) -> Tensor:
        """(N, h, w, C) -> (N, h, w, C), each map by itself."""
        grid = x.shape[1:3]
        qkv = self.qkv(x.flatten(1, 2)).unflatten(2, (3, self.num_heads, -1))  # (N, h w, 3, heads, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        found = map_attention(self.q_norm(q), self.k_norm(k), v, grid, self.rel_pos_h, self.rel_pos_w)
        return self.proj(found.transpose(1, 2).flatten(2)).unflatten(1, grid)


def map_attention(
    q: Tensor, k: Tensor, v: Tensor, grid: Sequence[int], rows: Tensor | None, columns: Tensor | None
) -> Tensor:
    """Attention that scores q·k / sqrt(D) + q·rows[y - y'] + q·columns[x - x'] (MViTv2: Li et al., 2022).

    This is computed as one product of longer vectors, with a further channel for each row and column of the
    map. So with a fused kernel, no matrix of all pairs of cells is in memory.

    Args:
        q, k, v: (N, heads, h w, D).
        grid: h, w.
        rows, columns: tables (2 h - 1, D) and (2 w - 1, D), from the most negative distance to the largest,
            shared by all heads. Tables of another length are interpolated linearly. None: no positions.

    Returns:
        (N, heads, h w, D).
    """
    if rows is None:
        return F.scaled_dot_product_attention(q, k, v)
    (h, w), cells = grid, q.unflatten(2, grid)  # (N, heads, h, w, D)
    by_row = torch.einsum('nayxd,ykd->nayxk', cells, _of_pairs(rows, h)).flatten(2, 3)
    by_column = torch.einsum('nayxd,xkd->nayxk', cells, _of_pairs(columns, w)).flatten(2, 3)
    row, column = (torch.eye(side, dtype=k.dtype, device=k.device) for side in grid)
    # (h w, h + w): 1 at the row and at the column of each key
    own = torch.cat([row.repeat_interleave(w, 0), column.repeat(h, 1)], 1)
    queries = torch.cat([q * q.shape[3] ** -0.5, by_row.to(q.dtype), by_column.to(q.dtype)], 3)
    keys = torch.cat([k, own.expand(*k.shape[:2], -1, -1)], 3)
    fill = (0, -queries.shape[3] % 8)  # fused kernels need multiples of 8 channels
    return F.scaled_dot_product_attention(F.pad(queries, fill), F.pad(keys, fill), v, scale=1.0)


def _of_pairs(table: Tensor, side: int) -> Tensor:
    """(2 side - 1, D) -> (side, side, D): the entry for each row of a query and each row of a key."""
    places = torch.arange(side, device=table.device)
    return resize_table(table, 2 * side - 1)[places[:, None] - places + side - 1]


def resize_table(table: Tensor, length: int) -> Tensor:
    """Linear interpolation of a table of distances, (L, D) -> (length, D)."""
    if len(table) == length:
        return table
    return F.interpolate(table.T[None], length, mode='linear', align_corners=False)[0].T


def split_windows(x: Tensor, side: int) -> Tensor:
    """(B, h, w, C) -> n windows of each map, row by row, (B n, side, side, C), padded at bottom and right."""
    x = F.pad(x, (0, 0, 0, -x.shape[2] % side, 0, -x.shape[1] % side))
    x = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))  # (B, rows, side, columns, side, C)
    return x.transpose(2, 3).flatten(0, 2)


def join_windows(x: Tensor, grid: Sequence[int]) -> Tensor:
    """Undo :func:`split_windows`: back to (B, h, w, C), without the padding; ``grid`` is h, w."""
    counts = [-(-n // x.shape[1]) for n in grid]
    x = x.unflatten(0, (-1, *counts)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return x[:, : grid[0], : grid[1]]
