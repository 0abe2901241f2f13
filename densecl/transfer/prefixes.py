"""Names in a file: the prefix of a backbone (``backbone.``, ``module.encoder_q.`` ...), what fits a model."""

import re
from collections import Counter

import torch
from torch import Tensor

from densecl.distributed import spread_like

from .vit import MARKS as VIT_MARKS

# Words in a prefix that name the momentum (or otherwise second) encoder of a pair.
_TARGET_WORDS = {
    'target', 'teacher', 'encoder_k', 'key_encoder', 'momentum', 'momentum_encoder', 'ema',
    'backbone_momentum', 'encoder_momentum', 'backbone_k', 'target_net', 'target_network',
}  # fmt: skip
BRANCHES = ('online', 'target')
_COUNTER = 'num_batches_tracked'
# Networks inside a head, such as its target (KMeansTokens) and its decoder (VQ-KD), are no branches.
_OF_A_HEAD = re.compile(r'(?:^|\.)heads\.[^.]+\.(?:target|projector)\.')


def without_heads(names: set[str]) -> set[str]:
    """The names that are not inside a pretrainer's heads."""
    return {name for name in names if not _OF_A_HEAD.search(name)}


def branch_of(prefix: str) -> str:
    """``target`` for ``target.backbone.``, ``module.encoder_k.`` and the like, else ``online``."""
    return 'target' if _TARGET_WORDS & set(prefix.split('.')) else 'online'


def neck_prefix(prefix: str) -> str:
    """The neck's prefix beside a backbone's: ``target.backbone.`` -> ``target.neck.``."""
    return prefix.removesuffix('backbone.') + 'neck.'


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def backbone_prefixes(tensors: dict[str, Tensor]) -> list[str]:
    """The prefixes of backbones, found by names only; prefixes of the online branch come first.

    A ResNet is recognised by its first block, a vision transformer by its patch projection, any other
    backbone by the prefix ``backbone.``.
    """
    marks = ('layer1.0.conv1.weight', *VIT_MARKS)
    found = {key.removesuffix(m) for key in tensors for m in marks if key.endswith(m)}
    found = {p for p in found if not p or p.endswith('.')}
    # The network inside a LinearLevel is a part of the backbone.
    found = {p[:-8] if p.endswith('network.') and f'{p[:-8]}linear.weight' in tensors else p for p in found}
    if not found:
        found = {match[0] for key in tensors if (match := re.match(r'(?:.*?\.)?backbone\.', key))}
    return sorted(without_heads(found), key=lambda p: (BRANCHES.index(branch_of(p)), len(p), p))


def matching_prefixes(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, float]:
    """Prefix -> number of tensors under it that fit ``wanted`` by name and shape.

    A name with another shape counts a little. So a backbone of another size is still found and can be
    reported.
    """
    counts: Counter = Counter()
    for key, tensor in tensors.items():
        if _OF_A_HEAD.search(key):
            continue
        parts = key.split('.')
        for cut in range(len(parts)):
            name = '.'.join(parts[cut:])
            if name in wanted:
                counts['.'.join([*parts[:cut], ''])] += 1 if wanted[name].shape == tensor.shape else 1e-3
    return dict(counts)


def counted(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """All tensors except batch counters: converted files lack them, and no output depends on them."""
    return {k: v for k, v in tensors.items() if not k.endswith(_COUNTER)}


def fitting(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> list[str]:
    """Names that both have with the same shape, without batch counters."""
    return [k for k, v in counted(wanted).items() if k in given and given[k].shape == v.shape]


@torch.no_grad()
def copy(wanted: dict[str, Tensor], given: dict[str, Tensor], names: list[str]) -> None:
    """Copy these names, and the batch counters that both have."""
    counters = [k for k in given if k in wanted and k.endswith(_COUNTER)]
    for name in [*names, *counters]:
        wanted[name].copy_(spread_like(given[name], wanted[name]))
