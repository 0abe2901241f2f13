"""A learned token in place of the patches that a mask hides."""

import torch
from torch import Tensor


def put_token(patches: Tensor, token: Tensor, hidden: Tensor | None) -> Tensor:
    """Patches (B, h, w, C), with the token where ``hidden`` (B, h, w) is true.

    None hides nothing; the token then has a zero gradient, for which data-parallel training waits.
    """
    if hidden is not None:
        return torch.where(hidden[..., None], token.to(patches.dtype), patches)
    learning = torch.is_grad_enabled() and token.requires_grad
    return patches + token.sum().to(patches.dtype) * 0.0 if learning else patches
