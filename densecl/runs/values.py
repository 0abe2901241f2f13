"""What a run's config builds on, and what it changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from densecl.settings import Conditions, Setting
from densecl.settings.config_values import (
    has_queue,
    optimizer_values,
    relative,
    shared_values,
    with_prototypes,
)
from densecl.settings.recipes import small_recipe

from .manifest import hash_files
from .starts import Chosen


def run_values(
    found: Mapping[str, Setting],
    c: Conditions,
    chosen: Chosen,
    folders: list[str],
    paths: list[str],
    folder: Path,
) -> tuple[list[str], dict[str, Any]]:
    """``_base_`` and the names below it of a run's config."""
    from densecl.engine.launch import read_config

    base = small_recipe(found['method'].value)
    recipe = read_config(base)
    photos = [relative(path) for path in folders]
    values = shared_values(found, recipe, photos, relative(folder), c.machine.gpu is not None)
    scale = found['batch'].value / recipe.auto_scale_lr.base_batch_size
    values['optim_wrapper'] = optimizer_values(found, recipe.optim_wrapper.optimizer.lr * scale)
    values['param_scheduler'] = [
        dict(type='CosineAnnealingLR', T_max=values['epochs'], eta_min=0, by_epoch=True)
    ]
    values['start'] = chosen.record
    values['manifest'] = hash_files(paths)
    return [base], values


def method_parts(method: str) -> frozenset[str]:
    """Which of the parts that rules decide about a method has: queue, prototypes, momentum."""
    from densecl.engine.launch import read_config

    model = read_config(small_recipe(method)).model
    heads = model.heads.values()
    found = {'momentum'} if model.type == 'MomentumPretrainer' else set()
    found |= {'queue'} if any(map(has_queue, heads)) else set()
    found |= {'prototypes'} if any(map(with_prototypes, heads)) else set()
    return frozenset(found)
