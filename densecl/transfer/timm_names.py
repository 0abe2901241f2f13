"""timm's models as backbones: which one fits a file, and the names of its tensors.

In a model that timm builds with ``features_only``, the parts of a sequence are ``stages_0``; in the whole
model they are ``stages.0``.
"""

import functools
import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from densecl.inputs import parse_config

from .prefixes import counted

_SEQUENCE = re.compile(r'(^|\.)(stem|stages|layers|features)_(\d+|conv\d+)(?=\.)')


def whole_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors of a ``features_only`` model, with any prefix, the names of the whole model."""
    return {_SEQUENCE.sub(r'\1\2.\3', key): value for key, value in tensors.items()}


def own_names(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors with :func:`whole_names` the names of ``wanted``, if it has them; keep others."""
    own = {_SEQUENCE.sub(r'\1\2.\3', key): key for key in wanted}
    return {own.get(key, key): value for key, value in tensors.items()}


def feature_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give tensors of a whole model (no prefix) the names of a ``features_only`` model."""
    pattern = r'^(stem|stages|layers)\.(\d+|conv\d+)\.'
    return {re.sub(pattern, r'\1_\2.', key): value for key, value in tensors.items()}


@functools.cache
def shapes_of(model_name: str) -> dict[str, torch.Size]:
    """Name -> shape of the tensors in a timm model's feature levels; allocates no memory."""
    import timm

    with torch.device('meta'):
        model = timm.create_model(model_name, features_only=True)
    return {key: tensor.shape for key, tensor in model.state_dict().items()}


@functools.cache
def whole_shapes_of(model_name: str) -> dict[str, torch.Size]:
    """As :func:`shapes_of`, for the whole model."""
    import timm

    with torch.device('meta'):
        return {key: tensor.shape for key, tensor in timm.create_model(model_name).state_dict().items()}


def variant_of(tensors: dict[str, Tensor], candidates: Iterable[str]) -> str | None:
    """The first timm model whose feature levels these tensors (no prefix) fill; None if there is none.

    A model is ruled out if it lacks a part of a level, but not if it lacks layers behind the levels.
    """
    given = {key: tensor.shape for key, tensor in counted(tensors).items()}
    for name in candidates:
        wanted = counted(shapes_of(name))
        parts = tuple({key.split('.')[0] + '.' for key in wanted})
        if wanted == {key: shape for key, shape in given.items() if key.startswith(parts)}:
            return name
    return None


def timm_images(model_name: str) -> dict[str, tuple[float, ...]]:
    """Mean and std, 0 to 255, of the images for timm's weights of a model."""
    import timm

    cfg = timm.get_pretrained_cfg(model_name)
    return {'mean': tuple(255 * x for x in cfg.mean), 'std': tuple(255 * x for x in cfg.std)}


def whole_model(config: dict) -> nn.Module:
    """The whole timm model, with its last layers; a ``TimmBackbone`` has only its feature levels."""
    import timm

    return timm.create_model(**_of_timm(config), pretrained=False)


def is_timm(record: dict) -> bool:
    """Whether a training record belongs to a timm model with feature levels."""
    return str(record.get('backbone')).rpartition('.')[2] == 'TimmBackbone'


def timm_how_to_load(target: str, record: dict) -> str | None:
    """How to build the model for an export of a timm backbone; None for other backbones."""
    if not is_timm(record):
        return None
    config = (parse_config(record['config']).get('model') or {}).get('backbone') or {}
    left_out = ('type', 'out_indices', 'init_cfg', 'hidden', 'drop_path_rate')
    options = {k: v for k, v in config.items() if k not in left_out}
    if target == 'timm':
        options = _of_timm(options)
    given = ', '.join(f'{key}={value!r}' for key, value in options.items())
    if target == 'timm':
        return f"timm.create_model({given}), load_state_dict(torch.load(FILE)['state_dict'], strict=False)"
    return f"backbone=dict(type='densecl.TimmBackbone', {given}) and --pretrained FILE"


def _of_timm(config: dict) -> dict:
    """The settings of a ``TimmBackbone`` for timm's whole model, which always has the final norm."""
    return {k: v for k, v in config.items() if k not in ('type', 'out_indices', 'hidden', 'final_norm')}
