"""timm's models as backbones: which one fits a file, and what its tensors are called.

A model that timm builds with ``features_only`` names the parts of a sequence ``stages_0`` where the whole
model says ``stages.0``.
"""

import functools
import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .config_text import parse_config
from .prefixes import counted

_SEQUENCE = re.compile(r'(^|\.)(stem|stages|layers|features)_(\d+|conv\d+)(?=\.)')


def whole_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a ``features_only`` model, with any prefix, under the names of the whole model."""
    return {_SEQUENCE.sub(r'\1\2.\3', key): value for key, value in tensors.items()}


def own_names(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with :func:`whole_names`, under the names of ``wanted`` where it has them; others unchanged."""
    own = {_SEQUENCE.sub(r'\1\2.\3', key): key for key in wanted}
    return {own.get(key, key): value for key, value in tensors.items()}


def feature_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a whole model (no prefix) under the names that ``features_only`` gives its sequences."""
    pattern = r'^(stem|stages|layers)\.(\d+|conv\d+)\.'
    return {re.sub(pattern, r'\1_\2.', key): value for key, value in tensors.items()}


@functools.cache
def shapes_of(model_name: str) -> dict[str, torch.Size]:
    """Name -> shape of a timm model's feature levels; nothing is allocated."""
    import timm

    with torch.device('meta'):
        model = timm.create_model(model_name, features_only=True)
    return {key: tensor.shape for key, tensor in model.state_dict().items()}


@functools.cache
def whole_shapes_of(model_name: str) -> dict[str, torch.Size]:
    """As :func:`shapes_of`, of the whole model."""
    import timm

    with torch.device('meta'):
        return {key: tensor.shape for key, tensor in timm.create_model(model_name).state_dict().items()}


def variant_of(tensors: dict[str, Tensor], candidates: Iterable[str]) -> str | None:
    """The first timm model whose feature levels these tensors (no prefix) fill; None where none is.

    A part of a level that the model lacks rules it out; layers behind the levels do not.
    """
    given = {key: tensor.shape for key, tensor in counted(tensors).items()}
    for name in candidates:
        wanted = counted(shapes_of(name))
        parts = tuple({key.split('.')[0] + '.' for key in wanted})
        if wanted == {key: shape for key, shape in given.items() if key.startswith(parts)}:
            return name
    return None


def timm_images(model_name: str) -> dict[str, tuple[float, ...]]:
    """Mean and std, 0 to 255, of the images that timm's weights of a model were trained on."""
    import timm

    cfg = timm.get_pretrained_cfg(model_name)
    return {'mean': tuple(255 * x for x in cfg.mean), 'std': tuple(255 * x for x in cfg.std)}


def whole_model(config: dict) -> nn.Module:
    """timm's model, its last layers included, of which a ``TimmBackbone`` has the feature levels."""
    import timm

    return timm.create_model(**_of_timm(config), pretrained=False)


def is_timm(record: dict) -> bool:
    """Whether a training record is of a timm model with feature levels."""
    return str(record.get('backbone')).rpartition('.')[2] == 'TimmBackbone'


def timm_how_to_load(target: str, record: dict) -> str | None:
    """The model that an export of a timm backbone is for; None for other backbones."""
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
    """What of a ``TimmBackbone``'s settings timm's whole model takes; it has the final norm in any case."""
    return {k: v for k, v in config.items() if k not in ('type', 'out_indices', 'hidden', 'final_norm')}
