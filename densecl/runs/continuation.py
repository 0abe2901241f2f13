"""Changes of a method's small recipe for a run that continues from weights.

First only the heads are trained. Batch statistics stay those of the start. The backbone's learning rate then
rises over a ramp; layers nearer to the stem have a lower rate. An anchor compares the backbone's cells with
those of the frozen start.
"""

from collections.abc import Mapping
from typing import Any

from densecl.settings import Setting

from .starts import Chosen

_WIDTH = 512  # width of ResNet-18, for which the small recipes are made


def continued_model(
    found: Mapping[str, Setting], chosen: Chosen, recipe, heads: dict[str, Any]
) -> dict[str, Any]:
    """Changes of ``model``; ``heads`` are the changes that the settings already made.

    Raises:
        ValueError: the method reads levels that only ResNet-18 has.
    """
    layout = chosen.layout
    model = dict(
        backbone=dict(_delete_=True, **layout.backbone),
        data_preprocessor=dict(mean=list(chosen.start.mean), std=list(chosen.start.std)),
        batch_statistics='held',
        heads_first=found['heads_only'].value,
        frozen_layers=found['frozen_layers'].value if 'frozen_layers' in found else 0,
    )
    if not found['heads_only'].value:
        del model['heads_first']
    if recipe.model.type == 'MomentumPretrainer':
        model |= dict(shuffle_bn=False, bn_groups=1)  # frozen batch statistics leak no information
    if 'momentum' in found:
        low, high = found['momentum'].value
        model['momentum'] = dict(_delete_=True, start=low, end=high)
    model['heads'] = {
        name: _fitted(name, head, heads.get(name, {}), layout, found['method'].value)
        for name, head in recipe.model.heads.items()
        if head.get('target') != 'start'
    }
    model['heads']['anchor'] = anchor(recipe, found['view_size'].value, layout.level)
    return model


def anchor(recipe, size: int, level: int) -> dict[str, Any]:
    """The anchor of ``configs/_base_/continuation.py`` for views of this size, on this level.

    The start gets an enlarged first crop, as the last view. A method that compares all crops would also
    compare this view, so it gets the plain anchor, whose start sees the same view as the backbone.
    """
    head = _parts().anchor.to_dict()
    head['units'] = head['units'] | dict(grid=max(size // 16, 1), level=level)
    return head | dict(pairs=((0, number_of_views(recipe)),) if takes_finer(recipe) else ((0, 0),))


def finer_view(found: Mapping[str, Setting]) -> dict[str, Any]:
    """The view for the anchor's start."""
    parts = _parts()
    return parts.finer.to_dict() | dict(size=parts.times * found['view_size'].value)


def number_of_views(recipe) -> int:
    """Number of views that a method makes of a photo."""
    return sum(view.get('count', 1) for view in recipe.views)


def takes_finer(recipe) -> bool:
    """Whether a method can have a further view that is not one of its own crops."""
    crops = any(head.get('pairs') == 'crops' for head in recipe.model.heads.values())
    return not crops and 'min_overlap' not in recipe.train_dataloader.dataset.pipeline[0]


def _parts():
    from densecl.engine.launch import read_config

    return read_config('densecl::_base_/continuation.py')


def continued_optimizer(found: Mapping[str, Setting], values: dict[str, Any]) -> dict[str, Any]:
    """An optimizer wrapper with separate learning rates for backbone and heads."""
    rule = dict(
        match=r'^backbone\.',
        lr_mult=round(found['backbone_lr'].value / found['lr'].value, 4),
        layer_decay=found['layer_decay'].value,
        decay_mult=0,  # weight decay pulls weights to zero, away from the start
        lr_ramp=(found['heads_only'].value, found['ramp'].value),
    )
    optimizer = _parts().gentle.optimizer.to_dict() | dict(_delete_=True, lr=found['lr'].value)
    return values | dict(
        optimizer=optimizer, constructor='ParamGroupsConstructor', paramwise_cfg=dict(rules=[rule])
    )


def _fitted(name: str, head: Mapping, changes: dict[str, Any], layout, method: str) -> dict[str, Any]:
    """A head's changes, with a first layer that fits the width of the backbone's map."""
    changes = {key: dict(value) for key, value in changes.items()}
    channels = (head.get('projector') or {}).get('channels')
    units = head.get('units') or {}
    several = isinstance(units, Mapping) and (units.get('levels') or units.get('level', -1) != -1)
    if several or not channels or channels[0] != _WIDTH:
        raise ValueError(
            f'--method {method}: its head {name} is made for the levels of a ResNet-18 and goes on from no '
            'other weights; take anchor, densecl, pixpro or mocov2'
        )
    changes.setdefault('projector', {})['channels'] = (layout.width, *channels[1:])
    if layout.level != -1 and units:
        kind = units if isinstance(units, str) else units.get('type')
        whole = dict(_delete_=True) if isinstance(units, str) else {}
        changes['units'] = dict(type=kind, level=layout.level, **whole)
    return changes
