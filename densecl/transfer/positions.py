"""Removes position from the backbone of a RASA checkpoint: all projections are folded into one matrix."""

from typing import Any

from mmengine.config import Config
from torch import Tensor

from densecl.inputs import parse_config
from densecl.models.necks.positions import folded

from .prefixes import under
from .read import Weights

_BACKBONE = 'backbone.'


def without_positions(weights: Weights, head: str | None = None) -> tuple[dict[str, Any], int, int]:
    """The checkpoint with a :class:`~densecl.models.backbones.LinearLevel` in place of its backbone.

    Args:
        weights: from a pretraining with a ``PositionPredictor`` as projector.
        head: name of the head; None: the first one.

    Returns:
        The new checkpoint, the number of rounds folded into it, and the level of the backbone.

    Raises:
        ValueError: there is no such head, or none of its rounds has started.
    """
    config = parse_config(weights.meta.get('cfg'))
    model = config.get('model') or {}
    heads = {
        name: one
        for name, one in (model.get('heads') or {}).items()
        if str((one.get('projector') or {}).get('type')).rpartition('.')[2] == 'PositionPredictor'
        and head in (None, name)
    }
    if not heads:
        raise ValueError(
            f'{weights.source} has no head {head or ""} with a PositionPredictor; train one with a config of '
            'configs/rasa, and give its checkpoint'
        )
    name, settings = next(iter(heads.items()))
    projector = under(weights.tensors, f'heads.{name}.projector.')
    rounds = int(projector['begun'])
    if not rounds:
        raise ValueError(f'{weights.source}: no round of heads.{name} was begun; train it')
    matrix = folded([projector[f'rounds.{i}'] for i in range(rounds)])
    units = settings.get('units')
    level = units.get('level', -1) if isinstance(units, dict) else -1
    return with_matrix(weights, matrix, level), rounds, level


def with_matrix(weights: Weights, matrix: Tensor, level: int = -1) -> dict[str, Any]:
    """The checkpoint with a :class:`~densecl.models.backbones.LinearLevel`: the backbone and a (D, D) matrix.

    Args:
        weights: from a pretraining; the backbone is built from its config.
        matrix: (D, D), multiplies the features of ``level``.
        level: a level of the backbone.
    """
    config = parse_config(weights.meta.get('cfg'))
    if not (config.get('model') or {}).get('backbone'):
        raise ValueError(f'{weights.source} carries no config to build its backbone from')
    inner = config['model']['backbone']
    config['model']['backbone'] = dict(type='LinearLevel', network=inner, channels=len(matrix), level=level)
    meta = {**weights.meta, 'cfg': Config(config).pretty_text}
    return {'state_dict': _wrapped(weights.tensors, matrix), 'meta': meta}


def _wrapped(tensors: dict[str, Tensor], matrix: Tensor) -> dict[str, Tensor]:
    """Only the backbone's tensors, with their names in a LinearLevel, and the matrix."""
    inner = under(tensors, _BACKBONE)
    dtype = next(x.dtype for x in inner.values() if x.is_floating_point())
    found = {f'{_BACKBONE}network.{key}': value for key, value in inner.items()}
    return found | {f'{_BACKBONE}linear.weight': matrix[..., None, None].to(dtype)}


def linear_how_to_load(record: dict[str, Any]) -> str | None:
    """How to build the backbone for an export of a LinearLevel; None for other backbones."""
    if str(record.get('backbone')).rpartition('.')[2] != 'LinearLevel':
        return None
    config = (parse_config(record['config']).get('model') or {}).get('backbone')
    return f'backbone={ {**config, "type": "densecl.LinearLevel"} } and --pretrained FILE'
