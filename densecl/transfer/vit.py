"""The names that projects give the tensors of a vision transformer.

timm, DINO, MoCo v3, MAE and detectron2 use ``blocks.0.attn.qkv.weight``. mmseg, whose ViT mmdet uses too, has
``layers.0.attn.attn.in_proj_weight``. The tensors themselves are the same.
"""

import math
import re

from torch import Tensor

from densecl.models.backbones.beit import resize_distances
from densecl.models.backbones.timm import resize_positions
from densecl.models.backbones.vitdet import resize_table

# The patch projection and the first block in each dialect; positions may be learned or rotary (RoPE).
_MARKS = {
    'timm': ('patch_embed.proj.weight', 'blocks.0.attn.qkv.weight'),
    'mmseg': ('patch_embed.projection.weight', 'layers.0.attn.attn.in_proj_weight'),
}
# Target of an export -> the dialect that it reads.
DIALECTS = {'mmdet': 'mmseg', 'mmseg': 'mmseg', 'timm': 'timm', 'safetensors': 'timm'}
#: The tensor whose name shows the prefix of a ViT in a file.
MARKS = tuple(patch for patch, _ in _MARKS.values())
# timm's part of a block -> mmseg's. Weight and bias of in_proj are parameters, not a module.
_PARTS = {
    'norm1.': 'ln1.',
    'norm2.': 'ln2.',
    'attn.qkv.': 'attn.attn.in_proj_',
    'attn.proj.': 'attn.attn.out_proj.',
    'mlp.fc1.': 'ffn.layers.0.0.',
    'mlp.fc2.': 'ffn.layers.1.',
}
_TOPS = {'patch_embed.proj.': 'patch_embed.projection.', 'norm.': 'ln1.'}
#: The table of relative positions that all blocks of a BEiT share; after fine-tuning each has its own.
RELATIVE = 'rel_pos_bias.relative_position_bias_table'
_OF_A_BLOCK = re.compile(r'^blocks\.\d+\.attn\.relative_position_bias_table$')
_ALONG_SIDES = re.compile(r'^blocks\.\d+\.attn\.rel_pos_[hw]$')
_SHARED = ('cls_token', 'pos_embed')
_TOP = re.compile(
    r'^(cls_token|pos_embed|reg_token|dist_token|patch_embed|rel_pos_bias|norm_pre|blocks|norm|layers|ln1|ln_pre)\b'
)


def tables_along_sides(tensors: dict[str, Tensor]) -> list[str]:
    """Names of ViTDet's relative positions, of rows and columns; they start at zero in a detector."""
    return [key for key in tensors if _ALONG_SIDES.match(key)]


def vit_dialect(tensors: dict[str, Tensor]) -> str | None:
    """``'timm'``, ``'mmseg'``, or None if the names (without prefix) are not those of a ViT."""
    found = (name for name, marks in _MARKS.items() if set(marks) <= tensors.keys())
    return next(found, None)


def spoken_in(tensors: dict[str, Tensor]) -> str | None:
    """As :func:`vit_dialect`, for a whole file with any prefixes."""
    found = (name for name, (_, block) in _MARKS.items() if any(key.endswith(block) for key in tensors))
    return next(found, None)


def vit_part(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove tensors with the same prefix that are no part of a ViT (``head``, ``fc_norm`` ...), and the
    index of relative positions, which the grid determines."""
    index = 'relative_position_index'
    return {key: value for key, value in tensors.items() if _TOP.match(key) and not key.endswith(index)}


def distance_tables(tensors: dict[str, Tensor]) -> list[str]:
    """Names of a BEiT's tables of relative positions: one, or one per block; none for other networks."""
    return [RELATIVE] if RELATIVE in tensors else [key for key in tensors if _OF_A_BLOCK.match(key)]


def hidden_token(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mask token, if both the model and the file have it; exports do not have it.

    BEiT's and SimMIM's files have it as (1, 1, C), iBOT's as ``masked_embed``. MAE's belongs to its decoder.
    """
    name = next((n for n in ('mask_token', 'masked_embed') if n in tensors), None)
    if name is None or 'mask_token' not in wanted or 'decoder_embed.weight' in tensors:
        return {}
    found, shape = tensors[name], wanted['mask_token'].shape
    return {'mask_token': found.reshape(shape)} if found.numel() == shape.numel() else {}


def to_dialect(tensors: dict[str, Tensor], dialect: str | None) -> dict[str, Tensor]:
    """Give a ViT's tensors (no prefix) the names of ``dialect``; other networks are not changed.

    Names without a counterpart in ``dialect`` are not changed; see :func:`inexpressible`.
    """
    own = vit_dialect(tensors)
    if own is None or dialect in (None, own):
        return tensors
    return {_renamed(key, dialect) or key: value for key, value in tensors.items()}


def inexpressible(tensors: dict[str, Tensor], dialect: str) -> list[str]:
    """Names of a ViT without a counterpart in ``dialect``: layer scale, register tokens, ..."""
    if vit_dialect(tensors) == dialect:
        return []
    return [key for key in tensors if _renamed(key, dialect) is None]


def _renamed(key: str, dialect: str) -> str | None:
    """The name in ``dialect`` for a name in the other dialect; None if there is none."""
    blocks, layers = ('blocks', 'layers') if dialect == 'mmseg' else ('layers', 'blocks')
    if key.startswith(f'{blocks}.'):
        number, rest = key.split('.', 2)[1:]
        part = _swapped(rest, _PARTS, dialect)
        return part and f'{layers}.{number}.{part}'
    return key if key in _SHARED else _swapped(key, _TOPS, dialect)


def _swapped(name: str, pairs: dict[str, str], dialect: str) -> str | None:
    for timm, mmseg in pairs.items():
        old, new = (timm, mmseg) if dialect == 'mmseg' else (mmseg, timm)
        if name in (f'{old}weight', f'{old}bias'):
            return new + name.removeprefix(old)
    return None


def grid_of(tensors: dict[str, Tensor]) -> tuple[int | None, int]:
    """From a ViT's position embedding: its number of class and register tokens, and its square grid's side.

    The number is None if the rest is no square with all or without any of these tokens. (0, 0) without
    positions.
    """
    if 'pos_embed' not in tensors:
        return 0, 0
    registers = tensors['reg_token'].shape[1] if 'reg_token' in tensors else 0
    count = tensors['pos_embed'].shape[1]
    for extra in (1 + registers, 0):
        side = math.isqrt(max(count - extra, 0))
        if side**2 == count - extra:
            return extra, side
    return None, math.isqrt(max(count - 1, 0))


def fit_positions(
    given: dict[str, Tensor], wanted: dict[str, Tensor]
) -> tuple[dict[str, Tensor], str | None]:
    """Resize the file's position embedding to the model's, if both have square grids and as many tokens.

    Returns:
        The tensors, and ``'14x14 -> 32x32'`` if something was resized, else None.
    """
    if vit_dialect(given) is None:
        return given, None
    lengths = {key: len(wanted[key]) for key in tables_along_sides(given) if key in wanted}
    given = given | {key: resize_table(given[key], length) for key, length in lengths.items()}
    if distance_tables(wanted) and distance_tables(given):
        return _fit_distances(given, wanted)
    if not {'pos_embed'} <= wanted.keys() & given.keys():
        return given, None
    positions = given['pos_embed']
    (extra, old), (others, new) = (grid_of(tensors) for tensors in (given, wanted))
    if old == new or extra != others or None in (extra, others):
        return given, None
    resized = resize_positions(positions.float(), (old, old), (new, new))
    return given | {'pos_embed': resized.to(positions.dtype)}, f'{old}x{old} -> {new}x{new}'


def _fit_distances(
    given: dict[str, Tensor], wanted: dict[str, Tensor]
) -> tuple[dict[str, Tensor], str | None]:
    """The same for a BEiT's relative positions; if blocks have their own table, each gets a shared one."""
    names, own = distance_tables(given), distance_tables(wanted)
    if names == [RELATIVE] != own:
        others = {key: value for key, value in given.items() if key != RELATIVE}
        given, names = others | dict.fromkeys(own, given[RELATIVE]), own
    old, new = side_of_distances(given[names[0]]), side_of_distances(wanted[own[0]])
    if old == new or None in (old, new):
        return given, None
    resized = {
        name: resize_distances(given[name].float(), (old, old), (new, new)).to(given[name].dtype)
        for name in names
    }
    return given | resized, f'{old}x{old} -> {new}x{new}'


def side_of_distances(table: Tensor) -> int | None:
    """Side of a table's square grid: (2 side - 1)^2 rows and three for the class token; None: not square."""
    width = math.isqrt(len(table) - 3)
    return (width + 1) // 2 if width**2 == len(table) - 3 and width % 2 else None
