"""Initial values of vision transformers, as in the code of each method."""

import torch
from torch import nn


@torch.no_grad()
def init_mocov3(vit: nn.Module) -> None:
    """Initialise as MoCo v3's code does: Xavier-uniform weights, zero biases, class token with std 1e-6.

    Query, key and value count as three (C, C) matrices, the patch projection as one (C, 3 p^2) matrix.
    """
    for name, module in vit.named_modules():
        if isinstance(module, nn.Linear):
            outputs, inputs = module.weight.shape
            _xavier(module, inputs, outputs // 3 if name.endswith('qkv') else outputs)
    projection = vit.patch_embed.proj
    _xavier(projection, projection.weight[0].numel(), vit.embed_dim)
    if vit.cls_token is not None:
        nn.init.normal_(vit.cls_token, std=1e-6)


@torch.no_grad()
def init_mae(model: nn.Module) -> None:
    """Initialise an encoder or decoder as MAE's code does: Xavier-uniform weights, tokens with std 0.02.

    Query, key and value count as one (3 C, C) matrix, the patch projection as one (C, 3 p^2) matrix. Biases
    of linear layers are 0; the bias of the patch projection keeps the default values of a convolution.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            _xavier(module, *module.weight.shape)
    if hasattr(model, 'patch_embed'):
        nn.init.xavier_uniform_(model.patch_embed.proj.weight.flatten(1))
    for name in ('cls_token', 'mask_token'):
        if getattr(model, name, None) is not None:
            nn.init.normal_(getattr(model, name), std=0.02)


@torch.no_grad()
def init_dinov3(vit: nn.Module) -> None:
    """Initialise as DINOv3's code does: linear layers and tokens normal with std 0.02, linear biases 0."""
    for module in vit.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for token in (vit.cls_token, vit.reg_token):
        if token is not None:
            nn.init.normal_(token, std=0.02)


def _xavier(layer: nn.Module, inputs: int, outputs: int) -> None:
    bound = (6 / (inputs + outputs)) ** 0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
