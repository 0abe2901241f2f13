"""Everything about a run that is decided before it begins."""

import tempfile
from collections.abc import Mapping
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
from densecl.settings.rules import DEFAULT_METHOD
from densecl.settings.speed import timed_speed

from .checks import find_photos, free_bytes
from .starts import Chosen, choose_start
from .values import method_parts, run_values


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        folder: of the run.
        folders, paths: where the photos are, and each of them.
        start: the weights to start from.
        conditions, found: what the rules knew, and what they decided.
        text: the config.
    """

    folder: Path
    folders: list[str]
    paths: list[str]
    start: Chosen
    conditions: Conditions
    found: Mapping[str, Setting]
    text: str

    @property
    def seconds(self) -> float:
        """How long the steps take."""
        values = {name: setting.value for name, setting in self.found.items()}
        return values['steps'] * values['batch'] / values['photos_per_s']

    @property
    def disk(self) -> int:
        """Bytes that the run writes: start, export, and four checkpoints of weights, target and optimiser."""
        backbone, heads = self.conditions.parameters, 6_000_000  # projectors and predictors, with copies
        queue = 2 * 128 * self.found['queue'].value if 'queue' in self.found else 0
        return 4 * (4 * (3 * (backbone + heads) + queue) + 3 * backbone) + 2**26

    def __str__(self) -> str:
        memory = self.conditions.speed.memory if self.conditions.speed else None
        lines = [
            f'start: {self.start.reason}',
            f'machine: {self.conditions.machine}',
            settings_table(self.found.values()),
            f'time: about {show_time(self.seconds)}; disk: {self.disk / 2**20:,.0f} MB of '
            f'{free_bytes(self.folder) / 2**20:,.0f} MB that are free; memory: '
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
    size: int | None = None,
    measure: bool = True,
    options: dict[str, Any] | None = None,
) -> Plan:
    """Look at photos, start and machine, and decide.

    Args: see :func:`densecl.runs.pretrain`.
    """
    folders = [str(Path(p).expanduser()) for p in ([photos] if isinstance(photos, (str, Path)) else photos)]
    paths = find_photos(folders)
    chosen = choose_start(start)
    conditions = Conditions(
        photos=describe_photos(paths),
        machine=look_at_machine(),
        architecture=chosen.architecture,
        continued=chosen.start is not None,
        transformer=chosen.transformer,
        hours=hours,
        size=size,
        method=method,
        parameters=chosen.parameters,
        parts=method_parts(method or DEFAULT_METHOD),
    )
    plan = _decide(Path(out), folders, paths, chosen, conditions)
    if not measure:
        return plan
    speed = timed_speed(_parsed(plan.text, options))
    # The size was chosen by the estimate; the time that was measured is that of this size.
    view_size = plan.found['view_size']
    conditions = replace(conditions, speed=speed, size=view_size.value)
    again = _decide(Path(out), folders, paths, chosen, conditions)
    return replace(again, found={**again.found, 'view_size': view_size})


def _decide(folder: Path, folders: list[str], paths: list[str], chosen: Chosen, c: Conditions) -> Plan:
    found = derive(c)
    base, values = run_values(found, c, chosen, folders, paths, folder)
    text = config_text(', '.join(folders), str(folder / 'config.py'), base, values)
    return Plan(folder, folders, paths, chosen, c, found, text)


def _parsed(text: str, options: dict[str, Any] | None):
    from mmengine.config import Config

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'config.py'
        path.write_text(text, encoding='utf-8')
        cfg = Config.fromfile(path)
    cfg.merge_from_dict(options or {})
    return cfg


def show_time(seconds: float) -> str:
    """``'40 s'``, ``'12 min'``, ``'1 h 50 min'``."""
    if seconds < 100:
        return f'{seconds:.0f} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 100 else f'{minutes // 60} h {minutes % 60:02d} min'
