"""Parts of BEiT's transformer: relative positions, initial values, and the class-token path."""

import copy
import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def only_relative(model: nn.Module) -> nn.Module:
    """Prepare a timm Beit for :class:`.TimmViT`, in place: patch maps (B, h, w, C) of images of any size."""
    from timm.layers import Format

    embed = model.patch_embed
    embed.flatten, embed.output_fmt = False, Format.NHWC
    embed.strict_img_size, embed.dynamic_img_pad = False, True
    for block in model.blocks:
        if block.attn.relative_position_bias_table is not None:
            block.attn.__class__ = _with_own_table(type(block.attn))
    return model


class OwnTable:
    """Mixin for timm's attention with its own table of relative positions: resizes the table to the grid.

    The grid is passed as ``shared_rel_pos_bias``. For timm, this argument is a bias that the blocks share.
    """

    def forward(self, x: Tensor, shared_rel_pos_bias: Sequence[int]) -> Tensor:
        """(B, 1 + h w, C) -> the same; ``shared_rel_pos_bias`` is h, w."""
        return super().forward(x, relative_bias(self, shared_rel_pos_bias))

    def __reduce__(self) -> tuple:
        # The class is made at run time, so pickle cannot import it.
        return _without_values, (type(self).__bases__[1],), vars(self)

    def _get_rel_pos_bias(self) -> float:
        return 0.0  # timm adds ``shared_rel_pos_bias`` to it


@functools.cache
def _with_own_table(attention: type[nn.Module]) -> type[nn.Module]:
    return type(f'OwnTable{attention.__name__}', (OwnTable, attention), {})


def _without_values(attention: type[nn.Module]) -> nn.Module:
    made = _with_own_table(attention)
    return made.__new__(made)


def relative_bias(positions: nn.Module, grid: Sequence[int]) -> Tensor:
    """(1, heads, 1 + h w, 1 + h w), the bias that attention adds for the relative position of two tokens.

    For a grid other than its own, the table is interpolated bicubically. The official fine-tuning code
    places the distances in a geometric sequence instead.

    Args:
        positions: timm's ``RelativePositionBias``, or an attention with its own table.
        grid: h, w.
    """
    table, index = positions.relative_position_bias_table, positions.relative_position_index
    if tuple(grid) != tuple(positions.window_size):
        from timm.models.beit import gen_relative_position_index

        table = resize_distances(table, positions.window_size, grid)
        index = gen_relative_position_index(tuple(grid), device=table.device)
    return table[index].permute(2, 0, 1)[None]


def resize_distances(table: Tensor, grid: Sequence[int], new_grid: Sequence[int]) -> Tensor:
    """Bicubic interpolation of a table of relative positions, ((2 h - 1) (2 w - 1) + 3, heads).

    The last three rows, for the class token, stay as they are. ``grid`` is h, w; ``new_grid`` the new h, w.
    """
    (h, w), (new_h, new_w) = grid, new_grid
    distances, token = table[:-3], table[-3:]
    maps = distances.T.unflatten(1, (2 * h - 1, 2 * w - 1))[None]
    maps = F.interpolate(maps, (2 * new_h - 1, 2 * new_w - 1), mode='bicubic', align_corners=False)
    return torch.cat([maps[0].flatten(1).T, token])


@torch.no_grad()
def init_beit(vit: nn.Module) -> None:
    """Initialise as BEiT's and SimMIM's codes do.

    Weights of linear layers and convolutions, tokens and position embeddings are normal with std 0.02,
    truncated at one std; biases are 0. In block i (from 1) the weights of ``attn.proj`` and ``mlp.fc2``,
    whose outputs are added to the block's input, are divided by sqrt(2 i).
    """
    for module in vit.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            _cut_normal(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for name in ('cls_token', 'mask_token', 'pos_embed'):
        if getattr(vit, name, None) is not None:
            _cut_normal(getattr(vit, name))
    for i, block in enumerate(vit.blocks, 1):
        for layer in (block.attn.proj, block.mlp.fc2):
            layer.weight.div_((2 * i) ** 0.5)


def _cut_normal(tensor: Tensor, std: float = 0.02) -> None:
    nn.init.trunc_normal_(tensor, std=std, a=-std, b=std)


@torch.no_grad()
def class_token_blocks(
    blocks: nn.ModuleList, first: int, count: int, drop_path: float | None
) -> nn.ModuleList:
    """``count`` new blocks, built like the last block of a timm ViT, to follow block ``first`` (BEiT v2).

    Blocks are counted from 1, so the new ones have the numbers i = first + 1, first + 2, ... As in the
    official code, linear layers and layer norms have torch's default initial values, then the weights of
    ``attn.proj`` and ``mlp.fc2`` are divided by sqrt(2 i).

    Args:
        blocks: those of the ViT.
        first, count: as above.
        drop_path: stochastic depth of the last block of the ViT, to which it grows linearly with i; None: the
            new blocks have the same as the last block.

    Raises:
        ValueError: the ViT has no block after ``first``, or no block is asked for.
    """
    if not (0 < first < len(blocks) and count > 0):
        raise ValueError(
            f'TimmViT: class_path=({first}, {count}) wants a block between 1 and {len(blocks) - 1}, and at '
            'least one block behind it'
        )
    growth = None if drop_path is None else drop_path / (max(len(blocks), first + count) - 1)
    made = nn.ModuleList(copy.deepcopy(blocks[-1]) for _ in range(count))
    for number, block in enumerate(made, first + 1):
        for part in block.modules():
            if isinstance(part, nn.Linear | nn.LayerNorm):
                part.reset_parameters()
            if growth is not None and hasattr(part, 'drop_prob'):
                part.drop_prob = growth * (number - 1)
        for layer in (block.attn.proj, block.mlp.fc2):
            layer.weight.div_((2 * number) ** 0.5)
    return made
