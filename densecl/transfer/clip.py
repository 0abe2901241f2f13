"""CLIP's files, of OpenAI and of open_clip: image tower (under timm's names), text tower, projection."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from densecl.registry import MODELS

from .network import Hints, Network
from .read import Weights
from .rename import Rules, renamed

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
#: Names of numbers that OpenAI's files hold beside the weights; its networks have QuickGELU.
_OPENAI = ('input_resolution', 'context_length', 'vocab_size')
#: Heads of the widths at which open_clip's image towers (ViT-H, g, bigG, e) have not 64 channels each.
_HEADS = {1280: 16, 1408: 16, 1664: 16, 1792: 16}


def has_quick_gelu(names: Collection[str], file: str) -> bool:
    """Whether the activation is OpenAI's, by the tensors' names and the file's; no tensor tells it."""
    return any(name in names for name in _OPENAI) or any(x in file.lower() for x in ('openai', 'quickgelu'))


def read_clip(
    tensors: dict[str, Tensor], hints: Hints, names: str, quick_gelu: bool | None = None
) -> Network | None:
    """The image tower of a CLIP with a ViT (below ``visual.``); None where it is another network.

    ``quick_gelu`` None: as :func:`has_quick_gelu` says.
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
    if not quick and quick_gelu is None:
        notes.append(
            "activation guessed: GELU, as in open_clip; OpenAI's weights have QuickGELU: put 'openai' in the "
            'name of the file (tools/zero_shot.py: --quick-gelu)'
        )
    title = f'ViT of CLIP, {depth} blocks of {width}, patch {patch}'
    return Network(title, backbone, named, names, MEAN, STD, notes=notes)


def _arch(quick: bool) -> str:
    return f'vit_base_patch16_clip_{"quickgelu_" if quick else ""}224'


@dataclass
class Clip:
    """Both towers of a file.

    Attributes:
        backbone: config of the image tower, as :func:`read_clip` says; its class token is the last level.
        tensors: of it.
        projector: from the class token to the common space.
        tower: of texts.
        notes: what was guessed, and how to say otherwise.
    """

    backbone: dict
    tensors: dict[str, Tensor]
    projector: nn.Linear
    tower: nn.Module
    notes: list[str]


def is_clip(weights: Weights) -> bool:
    """Whether a file has both towers, as OpenAI and open_clip write them."""
    return 'visual.proj' in weights.tensors and any(
        key.endswith('token_embedding.weight') for key in weights.tensors
    )


def open_clip(weights: Weights, quick_gelu: bool | None = None) -> Clip:
    """Build both towers and fill them.

    Args:
        weights: as read; names begin with ``visual.`` and, of texts, with nothing or ``text.``.
        quick_gelu: OpenAI's activation, or GELU; None: as :func:`has_quick_gelu` says.

    Raises:
        ValueError: the image tower is no ViT of CLIP (its ResNets are not known), or a tensor is missing.
    """
    tensors = {key: x.float() for key, x in weights.tensors.items()}
    hints = Hints(Path(weights.source).stem, names=tensors)
    visual = {key.removeprefix('visual.'): x for key, x in tensors.items() if key.startswith('visual.')}
    network = read_clip(visual, hints, 'CLIP', quick_gelu)
    if network is None:
        raise ValueError(
            f'{weights.source}: the image tower is no ViT of CLIP; its ResNets are not known here'
        )
    named = {key.removeprefix('text.'): x for key, x in tensors.items()}
    own = {key: x for key, x in named.items() if _TEXT.match(key)}
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
            activation='quick_gelu' if network.backbone['arch'] == _arch(True) else 'gelu',
        )
    )
    wrong = sorted(tower.state_dict().keys() ^ own.keys())
    if wrong:
        raise ValueError(
            f'{weights.source}: the text tower differs from CLIP in {len(wrong)} names: {wrong[:3]}'
        )
    tower.load_state_dict(own)
    projector = nn.Linear(*visual['proj'].shape, bias=False)
    with torch.no_grad():
        projector.weight.copy_(visual['proj'].T)
    return Clip(network.backbone, network.tensors, projector, tower, network.notes)
