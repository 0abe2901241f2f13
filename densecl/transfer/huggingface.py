"""Exports a vision transformer for Hugging Face's transformers: a folder with config and weights."""

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from densecl.files import atomic_write, write_json

from .vit import grid_of, to_dialect

#: timm's part of a block -> ViTModel's, and Dinov2Model's if it differs.
_VIT = {
    'norm1': 'layernorm_before', 'norm2': 'layernorm_after', 'attn.proj': 'attention.output.dense',
    'mlp.fc1': 'intermediate.dense', 'mlp.fc2': 'output.dense',
}  # fmt: skip
_DINOV2 = {
    'norm1': 'norm1', 'norm2': 'norm2', 'attn.proj': 'attention.output.dense', 'mlp.fc1': 'mlp.fc1',
    'mlp.fc2': 'mlp.fc2', 'ls1.gamma': 'layer_scale1.lambda1', 'ls2.gamma': 'layer_scale2.lambda1',
}  # fmt: skip
_TOPS = {
    'cls_token': 'embeddings.cls_token',
    'pos_embed': 'embeddings.position_embeddings',
    'reg_token': 'embeddings.register_tokens',
    'patch_embed.proj': 'embeddings.patch_embeddings.projection',
    'norm': 'layernorm',
}
_BLOCK = re.compile(r'^blocks\.(\d+)\.(.+)$')


def to_huggingface(tensors: dict[str, Tensor], record: dict[str, Any]) -> tuple[dict[str, Tensor], dict]:
    """Tensors with the names of released files (ViT or DINOv2), and their ``config.json``.

    Args:
        tensors: a ViT's tensors, with timm's or mmseg's names.
        record: result of :func:`densecl.transfer.vit_settings.vit_record`.

    Raises:
        ValueError: the network has a part that neither ViT nor DINOv2 has there, or its number of heads is
            not known.
    """
    tensors = to_dialect(tensors, 'timm')
    scaled, registers = 'blocks.0.ls1.gamma' in tensors, 'reg_token' in tensors
    names = _DINOV2 if scaled else _VIT
    found, strange = {}, []
    if record.get('positions') != 'learned':
        strange.append(f'{record.get("positions")} positions')
    if 'norm.weight' not in tensors:
        strange.append('a network without final norm')
    if registers and not scaled:
        strange.append('reg_token without layer scale')
    for key, value in tensors.items():
        new = _renamed(key, value, names)
        found |= new
        strange += [] if new else [key]
    if strange:
        raise ValueError(
            f'huggingface: ViT and DINOv2 of transformers have no place for {", ".join(strange[:3])} '
            f'({len(strange)} in all); use timm or safetensors'
        )
    if not record.get('num_heads'):
        raise ValueError('huggingface: the number of attention heads is not known; give a run of densecl')
    positions = 'embeddings.position_embeddings'
    if grid_of(tensors)[0] == 0:  # only patches have positions; transformers needs one for the class token
        empty = tensors['pos_embed'].new_zeros(1, 1, tensors['pos_embed'].shape[2])
        found[positions] = torch.cat([empty, found[positions]], 1)
    elif registers:
        raise ValueError('huggingface: its registers have no positions, those of this network have')
    if scaled:
        found['embeddings.mask_token'] = tensors['cls_token'].new_zeros(1, record['embed_dim'])
    kind = 'vit' if not scaled else 'dinov2_with_registers' if registers else 'dinov2'
    return found, _config(kind, tensors, record)


def _renamed(key: str, value: Tensor, names: dict[str, str]) -> dict[str, Tensor]:
    """The tensor, or its parts for query, key and value, with new names; {} if there is no such name."""
    match = _BLOCK.match(key)
    if not match:
        stem, _, end = key.rpartition('.')
        top = _TOPS.get(key) or (f'{_TOPS[stem]}.{end}' if stem in _TOPS else None)
        return {top: value} if top else {}
    start, part = f'encoder.layer.{match[1]}', match[2]
    if part.startswith('attn.qkv.'):
        each = zip(('query', 'key', 'value'), value.chunk(3), strict=True)
        end = part.removeprefix('attn.qkv.')
        return {f'{start}.attention.attention.{name}.{end}': x for name, x in each}
    if part in names:
        return {f'{start}.{names[part]}': value}
    stem, _, end = part.rpartition('.')
    return {f'{start}.{names[stem]}.{end}': value} if stem in names else {}


def _config(kind: str, tensors: dict[str, Tensor], record: dict[str, Any]) -> dict[str, Any]:
    width, hidden = record['embed_dim'], len(tensors['blocks.0.mlp.fc1.weight'])
    names = {'vit': 'ViTModel', 'dinov2': 'Dinov2Model', 'dinov2_with_registers': 'Dinov2WithRegistersModel'}
    config = {
        'architectures': [names[kind]],
        'model_type': kind,
        'hidden_size': width,
        'num_hidden_layers': record['depth'],
        'num_attention_heads': record['num_heads'],
        'hidden_act': 'gelu',
        'layer_norm_eps': record.get('norm_eps') or 1e-6,
        'image_size': record['image_size'],
        'patch_size': record['patch_size'],
        'num_channels': tensors['patch_embed.proj.weight'].shape[1],
        'qkv_bias': 'blocks.0.attn.qkv.bias' in tensors,
    }
    if kind == 'vit':
        return config | {'intermediate_size': hidden}
    config |= {'mlp_ratio': hidden // width, 'use_swiglu_ffn': False}
    return config | ({'num_register_tokens': tensors['reg_token'].shape[1]} if 'reg_token' in tensors else {})


def save_folder(export: dict[str, Any], out: str | Path) -> Path:
    """Write ``config.json``, ``preprocessor_config.json`` and, last, ``model.safetensors`` into ``out``."""
    from safetensors.torch import save_file

    folder, meta = Path(out), export['meta']
    folder.mkdir(parents=True, exist_ok=True)
    side, mean, std = meta['image_size'], meta.get('mean'), meta.get('std')
    texts = {'config.json': meta['huggingface']}
    if mean:
        images = {'image_mean': [m / 255 for m in mean], 'image_std': [s / 255 for s in std]}
        size = {'size': {'height': side, 'width': side}, 'do_resize': True, 'do_normalize': True}
        texts['preprocessor_config.json'] = {'image_processor_type': 'ViTImageProcessor', **size, **images}
    for name, content in texts.items():
        write_json(folder / name, content, indent=2)
    record = {key: json.dumps(value) for key, value in meta.items()}
    with atomic_write(folder / 'model.safetensors') as temporary:
        save_file(export['state_dict'], str(temporary), metadata={'format': 'pt', **record})
    return folder
