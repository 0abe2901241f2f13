"""Reads vision transformers of many projects and gives them timm's names."""

import importlib
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from .network import Hints, Network, filled, timm_map
from .rename import Rules, renamed
from .vit import RELATIVE, distance_tables, grid_of, side_of_distances, vit_dialect, vit_part

_BLOCK = r'^{}\.(\d+)\.'
_TIMM: Rules = (
    # DINOv2 saves its blocks in chunks; the blocks have the same numbers inside.
    (r'^blocks\.\d+\.(?=\d+\.(?:norm|attn|mlp|ls)\d?\b)', 'blocks.'),
    (r'^(mask_token|masked_embed|decoder_.*)$', ''),
    (r'^(register_tokens|storage_tokens)$', 'reg_token'),
    (r'.*(bias_mask|rope_embed\.periods)$', ''),
    # Gated layers (SwiGLU): DINOv2 packs both parts, DINOv3 does not.
    (r'\.mlp\.w12\.', '.mlp.fc1.'), (r'\.mlp\.w1\.', '.mlp.fc1_g.'), (r'\.mlp\.w2\.', '.mlp.fc1_x.'),
    (r'\.mlp\.w3\.', '.mlp.fc2.'),
)  # fmt: skip
_MM: Rules = (
    (_BLOCK.format('layers'), r'blocks.\1.'), (r'\.attn\.attn\.in_proj_', '.attn.qkv.'),
    (r'\.attn\.attn\.out_proj', '.attn.proj'), (r'\.ffn\.layers\.0\.0', '.mlp.fc1'),
    (r'\.ffn\.layers\.1', '.mlp.fc2'), (r'\.ln([12])\.', r'.norm\1.'), (r'^ln1\.', 'norm.'),
    (r'^patch_embed\.projection', 'patch_embed.proj'),
)  # fmt: skip
_TORCHVISION: Rules = (
    (r'^class_token$', 'cls_token'), (r'^conv_proj\.', 'patch_embed.proj.'),
    (r'^encoder\.pos_embedding$', 'pos_embed'), (r'^encoder\.ln\.', 'norm.'),
    (r'^encoder\.layers\.encoder_layer_(\d+)\.', r'blocks.\1.'), (r'\.ln_([12])\.', r'.norm\1.'),
    (r'\.self_attention\.in_proj_', '.attn.qkv.'), (r'\.self_attention\.out_proj', '.attn.proj'),
    (r'\.mlp\.(0|linear_1)\.', '.mlp.fc1.'), (r'\.mlp\.(3|linear_2)\.', '.mlp.fc2.'),
)  # fmt: skip
_HUGGING_FACE: Rules = (
    (r'^embeddings\.(cls_token|mask_token)$', r'\1'), (r'^embeddings\.register_tokens$', 'reg_token'),
    (r'^embeddings\.position_embeddings$', 'pos_embed'),
    (r'^embeddings\.patch_embeddings\.(?:projection\.)?', 'patch_embed.proj.'),
    (r'^(?:model\.|encoder\.)?layer\.(\d+)\.', r'blocks.\1.'), (r'^layernorm\.', 'norm.'),
    (r'\.layernorm_before\.', '.norm1.'), (r'\.layernorm_after\.', '.norm2.'),
    (r'\.attention\.(?:attention\.)?(query|key|value|q_proj|k_proj|v_proj)\.', r'.attn.\1.'),
    (r'\.attention\.(?:output\.dense|o_proj)', '.attn.proj'),
    (r'\.intermediate\.dense', '.mlp.fc1'), (r'(?<=\d)\.output\.dense', '.mlp.fc2'),
    (r'\.mlp\.up_proj', '.mlp.fc1'), (r'\.mlp\.down_proj', '.mlp.fc2'),
    (r'\.layer_scale([12])\.lambda1', r'.ls\1.gamma'), (r'^mask_token$', ''), (r'^pooler\..*', ''),
)  # fmt: skip
_CAPI: Rules = (
    (r'^(decoder\..*|mask_token|.*\.rope\.freqs)$', ''), (r'^registers$', 'reg_token'),
    (r'^patch_embed\.', 'patch_embed.proj.'), (r'^encoder\.', ''),
    (r'\.residual([12])\.norm\.', r'.norm\1.'), (r'\.residual1\.fn\.', '.attn.'),
    (r'\.residual2\.fn\.', '.mlp.'),
)  # fmt: skip
_RULES = {'mm': _MM, 'torchvision': _TORCHVISION, 'Hugging Face': _HUGGING_FACE}
_PARTS = (('query', 'key', 'value'), ('q_proj', 'k_proj', 'v_proj'))


def read_vit(tensors: dict[str, Tensor], hints: Hints, names: str) -> Network | None:
    """Read a ViT with a class token (no prefix); None if it is another network."""
    named = renamed(_joined(renamed(tensors, _RULES.get(names, ()))), _TIMM)
    if vit_dialect(named) != 'timm' or 'cls_token' not in named:
        return None
    named = vit_part(named)
    if distance_tables(named):
        return _relative(named, tensors, hints, names)
    if 'pos_embed' not in named:
        return _rotary(named, tensors, hints, names)
    if 'register_tokens' in tensors or 'embeddings.register_tokens' in tensors:
        named = _positions_of_patches(named)
    extra, side = grid_of(named)
    if extra is None:
        return None
    backbone, notes = _sizes(named, hints)
    patch = backbone['patch_size']
    gated = len(named['blocks.0.mlp.fc1.weight']) == 2 * named['blocks.0.mlp.fc2.weight'].shape[1]
    arch = 'vit_giant_patch14_dinov2' if gated else 'vit_small_patch16_224'
    backbone = dict(type='TimmViT', arch=arch, img_size=side * patch, **backbone)
    backbone |= dict(init_values=1.0) if 'blocks.0.ls1.gamma' in named else {}
    backbone |= dict(qkv_bias=False) if 'blocks.0.attn.qkv.bias' not in named else {}
    backbone |= _norm_of(named)
    if 'reg_token' in named:
        backbone |= dict(reg_tokens=named['reg_token'].shape[1], no_embed_class=extra == 0)
    title = f'ViT of {backbone["depth"]} blocks of {backbone["embed_dim"]}, patch {patch}'
    original = _original(tensors, named, backbone, names)
    return Network(title, backbone, named, names, notes=notes, original=original)


def read_capi(tensors: dict[str, Tensor], hints: Hints, names: str) -> Network | None:
    """Read CAPI's encoder, without its predictor: no class token, registers with positions."""
    named = vit_part(_joined(renamed(tensors, _CAPI)))
    if vit_dialect(named) != 'timm' or 'reg_token' not in named:
        return None
    settings, notes = _sizes(named, hints)
    registers = named['reg_token'].shape[1]
    backbone = dict(type='TimmViT', arch='vit_large_patch14_capi', num_reg_tokens=registers, **settings)
    title = f'ViT of {settings["depth"]} blocks of {settings["embed_dim"]}, rotary, {registers} registers'
    return Network(title, backbone, named, names, notes=notes)


def _joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join query, key and value into one tensor if the file has three; a missing bias of the key is 0."""
    joined = dict(tensors)
    for parts in _PARTS:
        for name in [k for k in tensors if f'.attn.{parts[0]}.' in k]:
            own = [joined.pop(name.replace(parts[0], part), None) for part in parts]
            own = [torch.zeros_like(own[0]) if t is None else t for t in own]
            joined[name.replace(parts[0], 'qkv')] = torch.cat(own)
    return joined


def _positions_of_patches(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the class token's position to the token itself.

    DINOv2 adds positions before it inserts the registers, so only the patches keep their positions.
    """
    positions = tensors['pos_embed']
    token = tensors['cls_token'] + positions[:, :1]
    return tensors | {'cls_token': token, 'pos_embed': positions[:, 1:]}


def _sizes(tensors: dict[str, Tensor], hints: Hints) -> tuple[dict, list[str]]:
    """Settings of the blocks, and what was guessed."""
    width = len(tensors['patch_embed.proj.weight'])
    depth = len({k.split('.')[1] for k in tensors if k.startswith('blocks.')})
    said = hints.record.get('num_heads') or hints.config.get('num_attention_heads') or hints.heads(width)
    heads, notes = said or max(1, width // 64), []
    if not said:
        notes = [f'attention heads guessed: {heads} (64 channels each); no tensor tells them']
    first = (
        'blocks.0.mlp.fc1_x.weight' if 'blocks.0.mlp.fc1_x.weight' in tensors else 'blocks.0.mlp.fc1.weight'
    )
    hidden = len(tensors[first])
    patch = tensors['patch_embed.proj.weight'].shape[-1]
    settings = dict(embed_dim=width, depth=depth, num_heads=heads, patch_size=patch)
    return settings | (dict(mlp_ratio=hidden / width) if hidden != 4 * width else {}), notes


def _rotary(named: dict, tensors: dict, hints: Hints, names: str) -> Network | None:
    """Read DINOv3: rotary positions; timm has the network in its EVA family."""
    gated = 'blocks.0.mlp.fc1_x.weight' in named
    if 'reg_token' not in named or not gated and 'blocks.0.mlp.fc1.weight' not in named:
        return None
    own = renamed(named, ((r'\.ls([12])\.gamma$', r'.gamma_\1'),))
    own = _split_bias(own)
    bias = 'blocks.0.attn.q_bias' in own
    arch = f'vit_small{"_plus" if gated else ""}_patch16_dinov3{"_qkvb" if bias else ""}'
    settings, notes = _sizes(own, hints)
    registers = own['reg_token'].shape[1]
    backbone = dict(type='TimmViT', arch=arch, **settings)
    backbone |= dict(num_reg_tokens=registers) if registers != 4 else {}
    title = f'ViT of {settings["depth"]} blocks of {settings["embed_dim"]}, rotary, {registers} registers'
    original = through_timm('eva', tensors, own, backbone) if names == 'timm' else None
    return Network(title, backbone, own, names, notes=notes, original=original)


def _relative(named: dict, tensors: dict, hints: Hints, names: str) -> Network | None:
    """Read BEiT and SimMIM: one table of relative positions for all blocks; after fine-tuning one each."""
    tables = distance_tables(named)
    side, heads = side_of_distances(named[tables[0]]), named[tables[0]].shape[1]
    if side is None or 'pos_embed' in named:
        return None
    settings, notes = _sizes(named, replace(hints, heads=lambda width: heads))
    settings |= dict(init_values=0.1 if 'blocks.0.gamma_1' in named else None)
    settings |= {} if tables == [RELATIVE] else dict(use_rel_pos_bias=True)
    settings |= _norm_of(named)
    backbone = dict(type='TimmViT', arch='beit_base_patch16_224', img_size=side * settings['patch_size'])
    kind = 'shared relative positions' if tables == [RELATIVE] else 'relative positions in each'
    title = f'BEiT of {settings["depth"]} blocks of {settings["embed_dim"]}, {kind}'
    return Network(title, backbone | settings, named, names, notes=notes)


def _norm_of(named: dict[str, Tensor]) -> dict[str, bool]:
    """Whether there is a final norm. Networks fine-tuned on the mean of tokens have fc_norm behind it."""
    return {} if 'norm.weight' in named else dict(final_norm=False)


def _split_bias(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Split the bias: timm has none for the key, as DINOv3 masks it, and none at all if all are zero."""
    split, biases = {}, {k: v for k, v in tensors.items() if k.endswith('attn.qkv.bias')}
    if any(v.any() for v in biases.values()):
        for key, value in biases.items():
            start = key.removesuffix('qkv.bias')
            split[f'{start}q_bias'], _, split[f'{start}v_bias'] = value.chunk(3)
    return {k: v for k, v in tensors.items() if k not in biases} | split


def _original(tensors: dict, named: dict, backbone: dict, names: str) -> Callable | None:
    if names == 'torchvision':
        return _torchvision_map(tensors, backbone)
    if names == 'mm':
        return _mmseg_map(tensors, backbone)
    return through_timm('vision_transformer', tensors, named, backbone) if names == 'timm' else None


def through_timm(module: str, tensors: dict, named: dict, backbone: dict) -> Callable[[Tensor], Tensor]:
    """timm's whole network, with the file read by timm's own reader."""

    def last_map(images: Tensor) -> Tensor:
        import timm

        options = {k: v for k, v in backbone.items() if k not in ('type', 'arch')}
        model = timm.create_model(backbone['arch'], num_classes=0, dynamic_img_size=True, **options)
        theirs = renamed(tensors, _TIMM[:1])
        if not any(k in theirs for k in ('mask_token', 'storage_tokens')):
            theirs = named
        read = importlib.import_module(f'timm.models.{module}').checkpoint_filter_fn
        kept = {k: v for k, v in read(dict(theirs), model).items() if k in model.state_dict()}
        return timm_map(filled(model, kept), norm=True)(images)

    return last_map


def _torchvision_map(tensors: dict[str, Tensor], backbone: dict) -> Callable[[Tensor], Tensor]:
    def last_map(images: Tensor) -> Tensor:
        from torchvision.models import VisionTransformer

        width = backbone['embed_dim']
        hidden = len(tensors['encoder.layers.encoder_layer_0.ln_1.weight'])
        mlp = int(backbone.get('mlp_ratio', 4) * hidden)
        sizes = [backbone[k] for k in ('img_size', 'patch_size', 'depth', 'num_heads')]
        model = filled(VisionTransformer(*sizes, width, mlp), tensors, ('heads.',))
        with torch.no_grad():
            tokens = model._process_input(images)
            tokens = torch.cat([model.class_token.expand(len(tokens), -1, -1), tokens], 1)
            return _as_map(model.encoder(tokens)[:, 1:])

    return last_map


def _mmseg_map(tensors: dict[str, Tensor], backbone: dict) -> Callable[[Tensor], Tensor] | None:
    if 'layers.0.attn.attn.in_proj_weight' not in tensors:  # from mmpretrain, which is not installed
        return None

    def last_map(images: Tensor) -> Tensor:
        from mmseg.models.backbones import VisionTransformer

        model = VisionTransformer(
            backbone['img_size'], backbone['patch_size'], embed_dims=backbone['embed_dim'],
            num_layers=backbone['depth'], num_heads=backbone['num_heads'], final_norm=True, patch_bias=True,
            norm_cfg=dict(type='LN', eps=1e-6), mlp_ratio=backbone.get('mlp_ratio', 4),
            qkv_bias=backbone.get('qkv_bias', True),
        )  # fmt: skip
        filled_mm(model, tensors).eval()  # mm's returns nothing
        with torch.no_grad():
            return model(images)[-1]

    return last_map


def filled_mm(model: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """Fill mm's backbone with the file's tensors; classifiers are left out."""
    own = model.state_dict()
    missing = [k for k in own if k not in tensors]
    if missing:
        raise ValueError(f'{type(model).__name__} has names that the file lacks: {missing[:3]}')
    model.load_state_dict({k: tensors[k] for k in own})
    return model


def _as_map(tokens: Tensor) -> Tensor:
    """(B, h h, C) -> (B, C, h, h)."""
    side = int(tokens.shape[1] ** 0.5)
    return tokens.unflatten(1, (side, side)).permute(0, 3, 1, 2)
