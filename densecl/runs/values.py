"""The base configs of a run's config, and its changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from densecl.settings import Conditions, Setting
from densecl.settings.config_text import Source, source_of
from densecl.settings.config_values import (
    has_queue,
    head_values,
    optimizer_values,
    relative,
    shared_values,
    with_prototypes,
)
from densecl.settings.recipes import small_recipe

from .continuation import continued_model, continued_optimizer, finer_view, takes_finer
from .manifest import hash_files
from .sensor import Sensor, read_by_sensor, views_of_sensor
from .starts import Chosen


@dataclass(frozen=True)
class Job:
    """A user's request.

    Attributes:
        folder: folder of the run.
        folders, paths: folders of the photos, and paths of all photos.
        start: the weights to start from.
        labelled: labelled set for the guard, or None.
        sensor: how the images are read, if they are not 8-bit photos.
        backends: ``vis_backends`` of the visualizer, if not the recipe's.
    """

    folder: Path
    folders: list[str]
    paths: list[str]
    start: Chosen
    labelled: str | Path | None = None
    sensor: Sensor | None = None
    backends: Sequence[dict[str, Any]] = ()


def run_values(found: Mapping[str, Setting], c: Conditions, job: Job) -> tuple[list[str], dict[str, Any]]:
    """``_base_`` and the other names of a run's config."""
    from densecl.engine.launch import read_config

    base, folder = small_recipe(found['method'].value), relative(job.folder)
    recipe = read_config(base)
    photos = [relative(path) for path in job.folders]
    values = shared_values(found, recipe, photos, folder, c.machine.gpu is not None)
    if job.sensor is not None:
        values = views_of_sensor(values)
    optimizer, heads = optimizer_values(found), head_values(found, recipe)
    if job.start.start is None:
        if any(head.get('target') == 'start' for head in recipe.model.heads.values()):
            raise ValueError(
                f'--method {found["method"].value} goes on from weights: give --start, or take densecl'
            )
        values['model'] = dict(heads=heads)
        if 'zero_init_residual' in found:
            values['model'] = dict(backbone=dict(zero_init_residual=True), heads=heads)
    else:
        values['model'] = continued_model(found, job.start, recipe, heads)
        optimizer = continued_optimizer(found, optimizer)
        if takes_finer(recipe):
            values['views'] = Source(f'{values["views"]} + [{source_of(finer_view(found))}]')
    values['custom_hooks'] = _hooks(job, folder)
    values['optim_wrapper'] = optimizer
    schedule = dict(type='ParamSchedule', param_name='lr', factor=dict(start=1, end=0))
    values['param_scheduler'] = [schedule | dict(convert_to_iter_based=True)]
    if job.backends:
        values['visualizer'] = dict(vis_backends=list(job.backends))
    values['start'] = job.start.record
    values['manifest'] = hash_files(job.paths)
    if job.sensor is not None:
        read_by_sensor(values, job.sensor)
    return [base], values


def _hooks(job: Job, folder: str) -> list[dict[str, Any]]:
    """A hook that loads weights, and a guard if there are weights or labels to compare with."""
    hooks = []
    if job.start.start is not None:
        hooks.append(dict(type='PretrainedHook', checkpoint=f'{folder}/start.pth'))
    if job.labelled is not None:
        hooks.append(dict(type='GuardHook', labelled=relative(job.labelled)))
    elif job.start.start is not None:
        hooks.append(dict(type='GuardHook'))
    return hooks


def method_traits(method: str) -> dict[str, Any]:
    """Facts about a method for the rules: ``parts`` (see :class:`.Conditions`), ``recipe_lr``."""
    from densecl.engine.launch import read_config

    recipe = read_config(small_recipe(method))
    model, heads = recipe.model, recipe.model.heads.values()
    found = {'momentum'} if isinstance(model.get('momentum'), float) else set()
    found |= {'branches'} if model.backbone.get('zero_init_residual') is False else set()
    found |= {'queue'} if any(map(has_queue, heads)) else set()
    found |= {'prototypes'} if any(map(with_prototypes, heads)) else set()
    return dict(parts=frozenset(found), recipe_lr=recipe.optim_wrapper.optimizer.lr)
