"""Everything about a run that is decided before it starts."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from densecl.settings import (
    Conditions,
    Setting,
    advice,
    derive,
    describe_photos,
    look_at_machine,
    settings_table,
)
from densecl.settings.config_text import config_text
from densecl.settings.photos import MOST_UNREADABLE
from densecl.settings.rules import DEFAULT_METHOD
from densecl.settings.speed import timed_speed
from densecl.visualization.backends import vis_backends

from .checks import find_photos, folders_of, free_bytes
from .folder import dig
from .sensor import look_at_sensor
from .starts import choose_start
from .values import Job, method_traits, run_values


@dataclass(frozen=True)
class Plan:
    """The plan of a run.

    Attributes:
        job: photos, start and folder.
        conditions, found: input of the rules, and their decisions.
        text: the config.
    """

    job: Job
    conditions: Conditions
    found: Mapping[str, Setting]
    text: str

    @property
    def seconds(self) -> float:
        """Seconds that the steps take."""
        values = {name: setting.value for name, setting in self.found.items()}
        return values['steps'] * values['batch'] / values['photos_per_s']

    @property
    def disk(self) -> int:
        """Bytes that the run writes, at most: start, export, and four checkpoints.

        A checkpoint has weights and the optimiser's two states; besides, a momentum target and a frozen
        start, where the run has them.
        """
        backbone, heads = self.conditions.parameters, 6_000_000  # projectors and predictors, with copies
        copies = 3 + ('momentum' in self.conditions.parts) + self.conditions.continued
        queue = 2 * 128 * self.found['queue'].value if 'queue' in self.found else 0
        return 4 * (4 * (copies * (backbone + heads) + queue) + 3 * backbone) + 2**26

    def __str__(self) -> str:
        memory = self.conditions.speed.memory if self.conditions.speed else None
        lines = [
            f'start: {self.job.start.reason}',
            f'machine: {self.conditions.machine}',
            settings_table(self.found.values()),
            f'time: about {show_time(self.seconds)}; disk: {self.disk / 2**20:,.0f} MB of '
            f'{free_bytes(self.job.folder) / 2**20:,.0f} MB that are free; memory: '
            + (f'{memory / 2**20:,.0f} MB' if memory else 'not measured'),
        ]
        warning = advice(self.found)
        return '\n'.join(lines + ([warning] if warning else []))


def make_plan(
    photos: str | list[str],
    out: str | Path = 'runs/pretrain',
    start: str | None = None,
    hours: float | None = None,
    method: str | None = None,
    labelled: str | Path | None = None,
    size: int | None = None,
    measure: bool = True,
    options: dict[str, Any] | None = None,
    log_to: Sequence[str] = (),
) -> Plan:
    """Inspect photos, start and machine, and decide all settings.

    Args: see :func:`densecl.runs.pretrain`.
    """
    backends = vis_backends(log_to, Path(out).name) if log_to else ()  # before anything is timed
    folders = folders_of(photos)
    chosen = choose_start(start)
    paths = find_photos(folders)
    sensor = look_at_sensor(paths)
    job = Job(Path(out), folders, paths, chosen, labelled, sensor, backends)
    depth = (sensor.channels, sensor.decoder['dtype']) if sensor else ()
    most = (options or {}).get('train_dataloader.dataset.max_unreadable', MOST_UNREADABLE)
    conditions = Conditions(
        photos=describe_photos(paths, *depth, most_unreadable=most),
        machine=look_at_machine(),
        architecture=chosen.architecture,
        continued=chosen.start is not None,
        transformer=chosen.transformer,
        hours=hours,
        size=size,
        method=method,
        parameters=chosen.parameters,
        layers=chosen.layers,
        patch=chosen.patch,
        **method_traits(method or DEFAULT_METHOD[chosen.start is not None]),
    )
    plan = _decide(job, conditions, options)
    if not measure:
        return plan
    speed = timed_speed(_parsed(plan.text))
    # The size was chosen with the estimate; the measured time is for this size.
    view_size = plan.found['view_size']
    conditions = replace(conditions, speed=speed, size=view_size.value)
    again = _decide(job, conditions, options)
    return replace(again, found={**again.found, 'view_size': view_size})


def _decide(job: Job, c: Conditions, options: dict[str, Any] | None) -> Plan:
    found = derive(c)
    base, values = run_values(found, c, job)
    if options:
        values['cfg_options'] = options
    text = config_text(', '.join(job.folders), str(job.folder / 'config.py'), base, values)
    if options:
        found = _as_asked(found, _parsed(text).to_dict())
    return Plan(job, c, found, text)


#: Settings of the plan that an option may replace -> their places in the config.
_PLACES = {
    'view_size': 'train_dataloader.dataset.pipeline.0.views.0.size',
    'batch': 'train_dataloader.batch_size',
    'workers': 'train_dataloader.num_workers',
    'lr': 'optim_wrapper.optimizer.lr',
    'checkpoint_interval': 'default_hooks.checkpoint.interval',
    'zero_init_residual': 'model.backbone.zero_init_residual',
}


def _as_asked(found: Mapping[str, Setting], cfg: Mapping) -> dict[str, Setting]:
    """The settings as the config ``cfg`` has them after ``--cfg-options``."""
    asked = {name: dig(cfg, place.split('.')) for name, place in _PLACES.items()}
    images = dig(cfg, ('train_dataloader', 'dataset', 'max_images')) or found['photos'].value
    epochs, batch = dig(cfg, ('train_cfg', 'max_epochs')), asked['batch']
    asked['steps'] = dig(cfg, ('train_cfg', 'max_iters'))
    if all(isinstance(number, int) and number > 0 for number in (epochs, batch)):
        asked['steps'] = epochs * max(images // batch, 1)
    changed = {
        name: Setting(name, value, 'as --cfg-options says')
        for name, value in asked.items()
        if name in found and isinstance(value, int | float) and value != found[name].value
    }
    return {**found, **changed}


def _parsed(text: str):
    from mmengine.config import Config

    from densecl.engine.launch import with_own_options

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'config.py'
        path.write_text(text, encoding='utf-8')
        return with_own_options(Config.fromfile(path))


def show_time(seconds: float) -> str:
    """``'40 s'``, ``'12 min'``, ``'1 h 50 min'``."""
    if seconds < 100:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 100 else f'{minutes // 60} h {minutes % 60:02d} min'
