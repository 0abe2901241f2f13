"""CAPI's transformer: linear layers without bias, no class token, RMS norms, registers with positions."""

from functools import partial

import torch
from torch import nn

EPS = 1e-5


def capi_vit(
    img_size: int = 224,
    patch_size: int = 14,
    embed_dim: int = 1024,
    depth: int = 24,
    num_heads: int = 16,
    num_reg_tokens: int = 16,
    **kwargs,
) -> nn.Module:
    """CAPI's encoder (Darcet et al., 2025; ViT-L/14 by default), made of timm's parts, with timm's names.

    Args:
        img_size, patch_size: in pixels.
        embed_dim, depth, num_heads, num_reg_tokens: sizes of the transformer.
        **kwargs: further arguments of timm's ``Eva``.
    """
    from timm.models.eva import Eva

    model = Eva(
        img_size,
        patch_size,
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        num_reg_tokens=num_reg_tokens,
        num_classes=0,
        class_token=False,
        qkv_bias=False,
        use_abs_pos_emb=False,
        use_rot_pos_emb=True,
        rope_type='dinov3',
        rope_rotate_half=True,
        norm_layer=partial(nn.RMSNorm, eps=EPS),
        use_fc_norm=False,
        dynamic_img_size=True,
        dynamic_img_pad=True,
        **kwargs,
    )
    model.norm = nn.RMSNorm(embed_dim, eps=EPS, elementwise_affine=False)
    for block in model.blocks:
        block.attn.num_prefix_tokens = 0  # rotary positions turn registers, too
    return without_bias(model)


def without_bias(model: nn.Module) -> nn.Module:
    """Remove the bias of every linear layer, in place; returns the model."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.bias = None
    return model


@torch.no_grad()
def init_capi(model: nn.Module) -> None:
    """Initialise an encoder or predictor as CAPI's code does: Xavier-uniform weights, tokens with std 0.02.

    Query, key and value count as three matrices, the patch projection as one (C, 3 p^2) matrix. Its bias
    keeps the default values of a convolution.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            for weight in layer.weight.chunk(3 if name.endswith('qkv') else 1):
                nn.init.xavier_uniform_(weight)
    if hasattr(model, 'patch_embed'):
        nn.init.xavier_uniform_(model.patch_embed.proj.weight.flatten(1))
    for name in ('reg_token', 'mask_token'):
        if getattr(model, name, None) is not None:
            nn.init.normal_(getattr(model, name), std=0.02)
