"""timm's Swin transformers as backbones; a mask may hide patches from them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.messages import check_choice
from densecl.structures import TokenMask

from .hidden_patches import put_token


class TimmSwin(nn.Module):
    """The levels of a timm Swin as (B, C, h, w), with the parameter names of timm's ``features_only``.

    Images may have any size: zeros at the bottom and right fill the last patches of 4 x 4 pixels, and Swin
    pads its windows itself.

    Args:
        levels: the model that ``timm.create_model(..., features_only=True)`` returns.
        hidden: ``'token'``: a learned vector replaces the patches that a mask hides (SimMIM). The mask may
            have a coarser grid, such as that of the last level; then a cell hides all its patches.
        final_norm: apply a LayerNorm to the last returned level, like the one before Swin's classifier and
            SimMIM's decoder.
    """

    def __init__(self, levels: nn.Module, hidden: str | None = None, final_norm: bool = False) -> None:
        super().__init__()
        check_choice('TimmBackbone: hidden of a Swin', hidden, (None, 'token'))
        self.parts = [name for name, _ in levels.named_children()]
        for name, part in levels.named_children():
            self.add_module(name, part)
        self.returned = tuple(levels.return_layers)
        self.feature_info = levels.feature_info
        width = self.patch_embed.proj.out_channels
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width)) if hidden else None
        if hidden:
            nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.norm = nn.LayerNorm(levels.feature_info.channels()[-1]) if final_norm else None

    @property
    def hides(self) -> bool:
        """Whether the backbone applies a mask."""
        return self.mask_token is not None

    def forward(self, images: Tensor, mask: TokenMask | None = None) -> list[Tensor]:
        """(B, 3, H, W) -> (B, C, h, w) for each level.

        Raises:
            ValueError: a cell of the mask is not a whole number of patches.
        """
        height, width = images.shape[2:]
        x = F.pad(images, (0, -width % 4, 0, -height % 4))
        levels = []
        for name in self.parts:
            x = getattr(self, name)(x)
            if name == 'patch_embed' and self.hides:
                x = put_token(x, self.mask_token, None if mask is None else _refined(mask.hidden, x))
            if name in self.returned:
                levels.append(x)
        if self.norm is not None:
            levels[-1] = self.norm(levels[-1])
        return [level.permute(0, 3, 1, 2) for level in levels]


def _refined(hidden: Tensor, patches: Tensor) -> Tensor:
    """Enlarge a mask (B, h', w') to the grid of ``patches`` (B, h, w, C): (B, h, w)."""
    grid, own = patches.shape[1:3], hidden.shape[1:]
    if any(side % cells for side, cells in zip(grid, own, strict=True)):
        raise ValueError(
            f'TimmBackbone: a mask of {tuple(own)} cells does not divide {tuple(grid)} patches of 4 px; '
            "set the mask's patch to 4, 8, 16 or 32"
        )
    for axis in (0, 1):
        hidden = hidden.repeat_interleave(grid[axis] // own[axis], axis + 1)
    return hidden
