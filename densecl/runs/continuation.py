"""What a run that goes on from weights changes of a method's small recipe.

The heads train alone first, batch statistics stay those of the start, the backbone's rate rises over a ramp
and falls with depth towards the stem, and an anchor compares its cells with those of the frozen start.
"""

from collections.abc import Mapping
from typing import Any

from densecl.settings import Setting

from .starts import Chosen

_WIDTH = 512  # of ResNet-18, for which the small recipes are


def continued_model(
    found: Mapping[str, Setting], chosen: Chosen, recipe, heads: dict[str, Any]
) -> dict[str, Any]:
    """Changes of ``model``; ``heads`` are those that the settings made already.

    Raises:
        ValueError: the method reads levels that another backbone than ResNet-18 does not have.
    """
    layout, momentum = chosen.layout, recipe.model.type == 'MomentumPretrainer'
    model = dict(
        backbone=dict(_delete_=True, **layout.backbone),
        data_preprocessor=dict(mean=list(chosen.start.mean), std=list(chosen.start.std)),
        batch_statistics='held',
        heads_first=found['heads_only'].value,
        frozen_layers=found['frozen_layers'].value if 'frozen_layers' in found else 0,
    )
    if momentum:
        low, high = found['momentum'].value
        model |= dict(momentum=dict(_delete_=True, start=low, end=high), shuffle_bn=False, bn_groups=1)
    model['heads'] = {
        name: _fitted(name, head, heads.get(name, {}), layout, found['method'].value)
        for name, head in recipe.model.heads.items()
    }
    model['heads']['anchor'] = anchor(layout.level)
    return model


def anchor(level: int) -> dict[str, Any]:
    """The head of ``configs/_base_/continuation.py`` that keeps the relations among cells, on a level."""
    from densecl.engine.launch import read_config

    head = read_config('densecl::_base_/continuation.py').anchor.to_dict()
    return head if level == -1 else head | dict(units=dict(type=head['units'], level=level))


def continued_optimizer(
    found: Mapping[str, Setting], values: dict[str, Any], transformer: bool
) -> dict[str, Any]:
    """An optimiser wrapper with rates for the backbone beside those of the heads."""
    rule = dict(
        match=r'^backbone\.',
        lr_mult=round(found['backbone_lr'].value / found['lr'].value, 4),
        decay_mult=0.0,  # decay pulls to zero, away from the start
        layer_decay=found['layer_decay'].value,
        lr_ramp=(found['heads_only'].value, found['ramp'].value),
    )
    if transformer:
        values = values | dict(
            optimizer=dict(_delete_=True, type='AdamW', lr=found['lr'].value, weight_decay=0.04)
        )
    return values | dict(constructor='ParamGroupsConstructor', paramwise_cfg=dict(rules=[rule]))


def _fitted(name: str, head: Mapping, changes: dict[str, Any], layout, method: str) -> dict[str, Any]:
    """A head's changes, with a first layer as wide as the backbone's map."""
    changes = {key: dict(value) for key, value in changes.items()}
    channels = (head.get('projector') or {}).get('channels')
    units = head.get('units') or {}
    several = isinstance(units, Mapping) and (units.get('levels') or units.get('level', -1) != -1)
    if several or not channels or channels[0] != _WIDTH:
        raise ValueError(
            f'--method {method}: its head {name} reads several levels of a ResNet-18, and goes on from no '
            'other weights; take densecl, pixpro or mocov2'
        )
    changes.setdefault('projector', {})['channels'] = (layout.width, *channels[1:])
    if layout.level != -1 and units:
        kind = units if isinstance(units, str) else units.get('type')
        changes['units'] = dict(type=kind, level=layout.level)
    return changes
