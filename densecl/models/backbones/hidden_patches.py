"""A learned token that replaces the patches hidden by a mask."""

import torch
from torch import Tensor


def put_token(patches: Tensor, token: Tensor, hidden: Tensor | None) -> Tensor:
    """Patches (B, h, w, C), replaced by the token where ``hidden`` (B, h, w) is true.

    None hides nothing. The token then gets a zero gradient, as data-parallel training waits for the gradient
    of every parameter.
    """
    if hidden is not None:
        return torch.where(hidden[..., None], token.to(patches.dtype), patches)
    learning = torch.is_grad_enabled() and token.requires_grad
    return patches + token.sum().to(patches.dtype) * 0.0 if learning else patches
