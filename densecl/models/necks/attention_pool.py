"""CLIP's attention pool: the mean of a map attends to its cells; or each cell gives its own value."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.models.backbones.timm import resize_positions
from densecl.registry import MODELS


@MODELS.register_module()
class AttentionPool2d(nn.Module):
    """(B, C, H, W) -> (B, D): pooling by attention (CLIP's ResNets, Radford et al., 2021, section 2.4).

    The mean of the cells is the query. Keys and values are the cells and this mean. Each has a learned
    position. A head needs ``units=dict(type='Image', project='map')`` with it. For maps of another size the
    positions are interpolated (bicubic). Parameters have the names of ``visual.attnpool`` in CLIP's
    checkpoints, and CLIP's initial values.

    Args:
        channels: C and D.
        grid: side of the map in cells, or height and width, for which the positions are made: 7 for a level
            with stride 32 at 224 px.
        heads: number of attention heads; by default one for every 64 channels.

    Raises:
        ValueError: ``heads`` does not divide C.
    """

    #: It needs the map, not a pooled vector, and has ``values`` of its cells.
    reads_map = True

    def __init__(
        self, channels: Sequence[int], grid: int | Sequence[int] = 7, heads: int | None = None
    ) -> None:
        super().__init__()
        width, out = channels
        self.grid = (grid, grid) if isinstance(grid, int) else tuple(grid)
        self.heads = max(1, width // 64) if heads is None else heads
        if width % self.heads:
            raise ValueError(f'AttentionPool2d: {width} channels are no multiple of {self.heads} heads')
        std = width**-0.5
        self.positional_embedding = nn.Parameter(std * torch.randn(1 + self.grid[0] * self.grid[1], width))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, out)
        for layer in (self.q_proj, self.k_proj, self.v_proj, self.c_proj):
            nn.init.normal_(layer.weight, std=std)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D)."""
        cells = maps.flatten(2).mT  # (B, H W, C)
        positions = resize_positions(self.positional_embedding[None], self.grid, maps.shape[2:])
        tokens = torch.cat([cells.mean(1, keepdim=True), cells], 1) + positions  # (B, 1 + H W, C)
        query, key, value = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, 1 or 1 + H W, C / heads)
            for project, x in ((self.q_proj, tokens[:, :1]), (self.k_proj, tokens), (self.v_proj, tokens))
        )
        return self.c_proj(F.scaled_dot_product_attention(query, key, value).flatten(1))

    def values(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H, W): the value of each cell by itself, without position.

        Query and key are not used. The value projection and the last projection act as 1x1 convolutions
        (MaskCLIP, Zhou et al., 2022, section 3.2).
        """
        return self.c_proj(self.v_proj(maps.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
