"""Reads CLIP files of OpenAI and open_clip: image tower (with timm's names), its projection, text tower."""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from densecl.models.necks import AttentionPool2d
from densecl.registry import MODELS

from .clip_resnet import read_clip_resnet
from .network import Hints, Network
from .prefixes import under
from .read import Weights
from .rename import Rules, renamed
from .vits import through_timm

MEAN, STD = (122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305)
_RULES: Rules = (
    (r'^class_embedding$', 'cls_token'), (r'^positional_embedding$', 'pos_embed'),
    (r'^conv1\.', 'patch_embed.proj.'), (r'^ln_pre\.', 'norm_pre.'), (r'^ln_post\.', 'norm.'),
    (r'^transformer\.resblocks\.', 'blocks.'), (r'\.ln_([12])\.', r'.norm\1.'),
    (r'\.attn\.in_proj_', '.attn.qkv.'), (r'\.attn\.out_proj\.', '.attn.proj.'),
    (r'\.mlp\.c_fc\.', '.mlp.fc1.'), (r'\.mlp\.c_proj\.', '.mlp.fc2.'), (r'^proj$', ''),
)  # fmt: skip
_TEXT = re.compile(
    r'^(token_embedding\.weight|positional_embedding|text_projection|ln_final\..*|transformer\..*)$'
)
_TEXT_SIZES = ('token_embedding.weight', 'positional_embedding', 'text_projection')
#: Names of numbers in OpenAI's files beside the weights; OpenAI's networks have QuickGELU.
_OPENAI = ('input_resolution', 'context_length', 'vocab_size')
#: Width -> number of heads of open_clip's image towers (ViT-H, g, bigG, e) without 64 channels per head.
_HEADS = {1280: 16, 1408: 16, 1664: 16, 1792: 16}


def has_quick_gelu(names: Collection[str], file: str) -> bool:
    """Whether the activation is QuickGELU, guessed from the names of tensors and file; no tensor shows it."""
    return any(name in names for name in _OPENAI) or any(x in file.lower() for x in ('openai', 'quickgelu'))


def read_clip(
    tensors: dict[str, Tensor], hints: Hints, names: str, quick_gelu: bool | None = None
) -> Network | None:
    """Read the image tower of a CLIP with a ViT (below ``visual.``); None if it is another network.

    ``quick_gelu`` None: use :func:`has_quick_gelu`.
    """
    if 'transformer.resblocks.0.ln_1.weight' not in tensors or 'ln_pre.weight' not in tensors:
        return None
    named = renamed(tensors, _RULES)
    named['cls_token'] = named['cls_token'].view(1, 1, -1)
    named['pos_embed'] = named['pos_embed'][None]
    width, _, patch, _ = named['patch_embed.proj.weight'].shape
    depth = len({key.split('.')[1] for key in named if key.startswith('blocks.')})
    side = patch * round((named['pos_embed'].shape[1] - 1) ** 0.5)
    hidden, heads = len(named['blocks.0.mlp.fc1.weight']), _HEADS.get(width, max(1, width // 64))
    quick = has_quick_gelu(hints.names, hints.file) if quick_gelu is None else quick_gelu
    backbone = dict(
        type='TimmViT',
        arch=_arch(quick),
        img_size=side,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        **({} if hidden == 4 * width else dict(mlp_ratio=hidden / width)),
    )
    notes = [f'attention heads guessed: {heads} ({width // heads} channels each); no tensor tells them']
    notes += _guessed(quick) if quick_gelu is None else []
    title = f'ViT of CLIP, {depth} blocks of {width}, patch {patch}'
    theirs = {f'visual.{key}': x for key, x in tensors.items()}
    original = through_timm('vision_transformer', theirs, theirs, backbone)
    return Network(title, backbone, named, names, MEAN, STD, notes=notes, original=original)


def _guessed(quick: bool) -> list[str]:
    """A note for the user about an activation that was guessed."""
    if quick:
        return []
    return [
        "activation guessed: GELU, as in open_clip; OpenAI's weights have QuickGELU: put 'openai' in the "
        'name of the file (tools/zero_shot.py: --quick-gelu)'
    ]


def _arch(quick: bool) -> str:
    return f'vit_base_patch16_clip_{"quickgelu_" if quick else ""}224'


@dataclass
class Clip:
    """Both towers of a file.

    Attributes:
        backbone: config of the image tower, from :func:`read_clip` or :func:`.read_clip_resnet`.
        tensors: tensors of the image tower.
        projector: from its last level to the common space: for a ViT's class token a linear layer, for a
            ResNet's map the attention pool.
        tower: text tower.
        size: side of the images in pixels.
        notes: what was guessed, and how to change it.
    """

    backbone: dict
    tensors: dict[str, Tensor]
    projector: nn.Module
    tower: nn.Module
    size: int
    notes: list[str]


def is_clip(weights: Weights) -> bool:
    """Whether a file has a CLIP's image tower in the format of OpenAI and open_clip."""
    return any(key.removeprefix('module.').startswith('visual.') for key in weights.tensors)


def open_clip(weights: Weights, quick_gelu: bool | None = None) -> Clip:
    """Build both towers and fill them.

    Args:
        weights: the file's tensors. Names of the image tower start with ``visual.``; names of the text tower
            with ``text.`` or have no prefix. All may have the prefix ``module.``.
        quick_gelu: True for QuickGELU (OpenAI's activation), False for GELU; None: use
            :func:`has_quick_gelu`.

    Raises:
        ValueError: the image tower is none of CLIP's ViTs and ResNets, or a part has missing or unknown
            tensors.
    """
    source = weights.source
    tensors = {key.removeprefix('module.'): x.float() for key, x in weights.tensors.items()}
    hints = Hints(Path(source).stem, names=tensors)
    quick = has_quick_gelu(tensors, hints.file) if quick_gelu is None else quick_gelu
    visual = under(tensors, 'visual.')
    network, notes = read_clip(visual, hints, 'CLIP', quick_gelu), []
    if network is not None:
        projector, size = _linear(visual, source), network.backbone['img_size']
    else:
        network = read_clip_resnet(visual, hints, 'CLIP')
        if network is None:
            raise ValueError(
                f"{source}: the image tower is none of CLIP's ViTs and ResNets, its first tensors are "
                f'{", ".join(f"visual.{name}" for name in list(visual)[:3])}; no other towers are known here'
            )
        projector, notes = _pool(under(visual, 'attnpool.'), source), _guessed(quick)
        size = 32 * projector.grid[0]
    tower = _tower({key.removeprefix('text.'): x for key, x in tensors.items()}, quick, source)
    notes = network.notes + (notes if quick_gelu is None else [])
    return Clip(network.backbone, network.tensors, projector, tower, size, notes)


def _linear(visual: dict[str, Tensor], source: str) -> nn.Linear:
    """The projection of a ViT's class token."""
    if 'proj' not in visual:
        raise ValueError(f'{source}: the image tower lacks visual.proj, its projection to the common space')
    projector = nn.Linear(*visual['proj'].shape, bias=False)
    return _filled(projector, dict(weight=visual['proj'].T), 'the projection', source)


def _pool(own: dict[str, Tensor], source: str) -> AttentionPool2d:
    """The attention pool of a ResNet's map."""
    names = ('positional_embedding', 'c_proj.weight')
    lacking = [name for name in names if name not in own or own[name].ndim != 2]
    if lacking:
        raise ValueError(
            f'{source}: the image tower lacks visual.attnpool.{lacking[0]} of its attention pool'
        )
    positions, (out, width) = len(own['positional_embedding']), own['c_proj.weight'].shape
    side = math.isqrt(positions - 1)
    if side * side != positions - 1:
        raise ValueError(
            f'{source}: visual.attnpool.positional_embedding has {positions} rows, expected one more than a '
            'square: 50 at 224 px'
        )
    return _filled(AttentionPool2d((width, out), grid=side), own, 'the attention pool', source)


def _tower(named: dict[str, Tensor], quick: bool, source: str) -> nn.Module:
    """The text tower."""
    own = {key: x for key, x in named.items() if _TEXT.match(key)}
    lacking = [name for name in _TEXT_SIZES if name not in own]
    if lacking:
        raise ValueError(f'{source}: the text tower lacks {lacking[0]}')
    words, width = own['token_embedding.weight'].shape
    tower = MODELS.build(
        dict(
            type='TextTransformer',
            vocab_size=words,
            context_length=len(own['positional_embedding']),
            width=width,
            depth=len({key.split('.')[2] for key in own if key.startswith('transformer.')}),
            heads=max(1, width // 64),
            projection=own['text_projection'].shape[1],
            activation='quick_gelu' if quick else 'gelu',
        )
    )
    return _filled(tower, own, 'the text tower', source)


def _filled(module: nn.Module, own: dict[str, Tensor], what: str, source: str) -> nn.Module:
    wanted = module.state_dict()
    wrong = sorted(k for k in wanted.keys() | own.keys() if k not in own or k not in wanted)
    if wrong:
        raise ValueError(f'{source}: {what} differs from CLIP in {len(wrong)} names: {wrong[:3]}')
    for name, tensor in wanted.items():
        if own[name].shape != tensor.shape:
            shapes = tuple(own[name].shape), tuple(tensor.shape)
            raise ValueError(f'{source}: {name} of {what} has shape {shapes[0]}, expected {shapes[1]}')
    module.load_state_dict(own)
    return module
