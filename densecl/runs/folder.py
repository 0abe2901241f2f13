"""Reads the folder of a training, which may be incomplete, cut off, or from another tool."""

import ast
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from densecl.inputs import parse_config

_LOGS = '*/vis_data/scalars.json'
_IDLE_S = 1800  # seconds; a training that has written nothing for this long counts as stopped
_LIBRARY_NOTICE = re.compile(r'deprecated|metric class')  # warnings of mmengine about itself


def config_of(folder: Path) -> Path | None:
    """The config of a run: ``config.py``, else the whole config written by the folder's newest training."""
    own = folder / 'config.py'
    return own if own.is_file() else _whole_config(folder)


def _whole_config(folder: Path) -> Path | None:
    return max(folder.glob('*/vis_data/config.py'), default=None)


@dataclass(frozen=True)
class RunFolder:
    """The folder of ``densecl pretrain``, ``finetune``, ``pilot`` or ``tools/train.py``, or of probes.

    Every part may be missing or cut off; the property is then empty.

    Attributes:
        folder: folder of the run; for a pilot, that of its pretraining.

    Raises:
        FileNotFoundError: the folder has nothing from a training.
    """

    folder: Path

    def __post_init__(self) -> None:
        folder = Path(self.folder)
        if (folder / 'pilot.json').is_file() and (folder / 'continued').is_dir():
            folder = folder / 'continued'
        object.__setattr__(self, 'folder', folder)
        kinds = ('config.py', 'guard.json', 'metrics.json', 'pilot.json', 'probe*.json', _LOGS, '*/*.log')
        if not any(True for kind in kinds for _ in folder.glob(kind)):
            raise FileNotFoundError(f'{folder} is no run: no config, log, guard.json or probe.json is in it')

    @cached_property
    def scalars(self) -> dict[str, list[tuple[float, float]]]:
        """Name -> (iteration, value) of all logs; for a repeated iteration the last value."""
        found: dict[str, dict[float, float]] = {}
        for path in sorted(self.folder.glob(_LOGS)):
            for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
                try:
                    entry = json.loads(line)
                    step = entry.get('iter', entry.get('step'))
                except (ValueError, AttributeError):  # half a line: the run was cut off
                    continue
                for name, value in entry.items():
                    if is_number(step) and is_number(value) and name not in ('iter', 'step', 'epoch'):
                        found.setdefault(name, {})[step] = value
        return {name: sorted(values.items()) for name, values in found.items()}

    @cached_property
    def settings(self) -> list[dict[str, Any]]:
        """Name, value and reason: from ``settings.json``, from the table in a config, or from the config."""
        known = self.json('settings.json', list)
        return [s for s in known if isinstance(s, dict) and 'name' in s] or self._documented() or self._read()

    @cached_property
    def config_text(self) -> str:
        """``config.py`` of the folder, or the whole config that the training wrote."""
        path = config_of(self.folder) or min(self.folder.glob('*.py'), default=None)
        return path.read_text(encoding='utf-8', errors='replace') if path else ''

    @cached_property
    def config_values(self) -> dict[str, Any]:
        """The whole config, parsed but not run; see :func:`densecl.inputs.parse_config`."""
        path = _whole_config(self.folder)
        text = path.read_text(encoding='utf-8', errors='replace') if path else ''
        return parse_config(text, paths=True)

    @cached_property
    def log(self) -> str:
        """Text of all logs, oldest first."""
        paths = sorted(self.folder.glob('*/*.log'))
        return '\n'.join(path.read_text(encoding='utf-8', errors='replace') for path in paths)

    @cached_property
    def warnings(self) -> list[tuple[str, int]]:
        """Warnings in the log, and how often each came; warnings that differ only in numbers count as one."""
        found: dict[str, tuple[str, int]] = {}
        for text in re.findall(r'- WARNING - (.+)', self.log):
            key = re.sub(r'\d+', '#', text)
            if not _LIBRARY_NOTICE.search(text):
                found[key] = (text, found.get(key, ('', 0))[1] + 1)
        return list(found.values())

    @cached_property
    def guard(self) -> dict[str, Any]:
        """``guard.json``: the guard's measurements, and ``told``, its answer; empty if it did not run."""
        return self.json('guard.json', dict)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """``manifest.json``: the training's files, versions, settings, starting weights."""
        return self.json('manifest.json', dict)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Figures of a fine-tuning in per cent."""
        return {name: v for name, v in self.json('metrics.json', dict).items() if is_number(v)}

    @cached_property
    def probes(self) -> dict[str, dict[str, Any]]:
        """Name of the file -> output of ``densecl probe --out``, for each ``probe*.json``."""
        found = {path.stem: self.json(path.name, dict) for path in sorted(self.folder.glob('probe*.json'))}
        return {name: content for name, content in found.items() if content}

    @cached_property
    def seed(self) -> int | None:
        """Seed of the training from its config, or of the probes if there are only these."""
        found = {dig(self.config_values, ('randomness', 'seed'))} - {None}
        found = found or {probe.get('seed') for probe in self.probes.values()}
        seed = found.pop() if len(found) == 1 else None
        return seed if isinstance(seed, int) else None

    @cached_property
    def pilot(self) -> Path | None:
        """``pilot.json`` of the folder, or of the pilot around it."""
        paths = [self.folder / 'pilot.json', self.folder.parent / 'pilot.json']
        return next((path for path in paths if path.is_file() and load_json(path, dict)), None)

    @cached_property
    def steps(self) -> tuple[int, int | None]:
        """Steps that were logged, and steps of the whole training, if the log has them."""
        done = max((x for points in self.scalars.values() for x, _ in points[-1:]), default=0)
        ours = re.findall(r' - epoch \d+/(\d+) \[\s*\d+/(\d+)\]', self.log)
        theirs = re.findall(r'Iter\(train\) \[\s*\d+/(\d+)\]', self.log)
        total = int(ours[-1][0]) * int(ours[-1][1]) if ours else int(theirs[-1]) if theirs else None
        return int(done), total

    @cached_property
    def state(self) -> str:
        """``'finished'``, ``'running'``, or ``'stopped'``: not finished, and idle for half an hour."""
        done, total = self.steps
        last = re.search(r'(epoch|iter)_(\d+)\.pth', self._text('last_checkpoint'))
        epochs = re.findall(r' - epoch \d+/(\d+) ', self.log)
        end = {'iter': total, 'epoch': int(epochs[-1]) if epochs else None}
        over = (total and done >= total) or (last and int(last[2]) == end[last[1]])
        probed = self.probes and not config_of(self.folder)  # no training is here
        if self.guard.get('told') or self.metrics or probed or (over and not self.guard):
            return 'finished'
        if re.search(r'- SIG\w+: saved [^\n]*\s*$', self.log):
            return 'stopped'
        kinds = (_LOGS, '*/*.log', 'guard.json', 'config.py')
        newest = max((path.stat().st_mtime for kind in kinds for path in self.folder.glob(kind)), default=0)
        return 'running' if time.time() - newest < _IDLE_S else 'stopped'

    @property
    def kind(self) -> str:
        """``'fine-tuning'`` or ``'pretraining'``."""
        parts = self.config_values.get('model') or {}
        heads = ('bbox_head', 'roi_head', 'decode_head', 'rpn_head')
        return 'fine-tuning' if self.metrics or any(name in parts for name in heads) else 'pretraining'

    @property
    def method(self) -> str:
        """Method of a pretraining, model of a fine-tuning; ``'not known'`` if it is not recorded."""
        known = {s['name']: s.get('value') for s in self.settings}
        model = self.config_values.get('model') or {}
        names = ' + '.join(model.get('heads') or {}) if isinstance(model.get('heads'), dict) else ''
        return str(known.get('method') or names or model.get('type') or 'not known')

    @cached_property
    def start_record(self) -> dict[str, Any]:
        """Name, origin, licence and sha256 of the starting weights, as far as they are known."""
        known, path = self.manifest.get('start'), self.folder / 'start.pth'
        if known or not path.is_file():
            return known if isinstance(known, dict) else {}
        import torch

        try:
            meta = torch.load(path, map_location='meta', weights_only=True).get('meta', {})
        except Exception:  # for half a file torch raises errors of many types
            return {}
        return meta.get('start') or {}

    def json(self, name: str, kind: type) -> Any:
        """Content of a file of the folder; an empty ``kind`` if it is missing, cut off or of another kind."""
        return load_json(self.folder / name, kind)

    def _text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(encoding='utf-8', errors='replace') if path.is_file() else ''

    def _documented(self) -> list[dict[str, Any]]:
        """Rows of the table in a config's docstring: name, value and reason, separated by two blanks."""
        try:
            text = ast.get_docstring(ast.parse(self._text('config.py'))) or ''
        except (SyntaxError, ValueError):
            return []
        rows: list[dict[str, Any]] = []
        for line in text.splitlines():
            parts = re.split(r' {2,}', line.strip(), maxsplit=2)
            if len(parts) == 3 and re.fullmatch(r'\w+', parts[0]):
                rows.append(dict(zip(('name', 'value', 'reason'), parts, strict=True)))
            elif rows and line.startswith(' '):
                rows[-1]['reason'] += ' ' + line.strip()
        return rows

    def _read(self) -> list[dict[str, Any]]:
        """The few most important settings of a training, from its config."""
        paths = {
            'backbone': ('model', 'backbone', 'type'),
            'model_name': ('model', 'backbone', 'model_name'),
            'data_root': ('train_dataloader', 'dataset', 'data_root'),
            'batch': ('train_dataloader', 'batch_size'),
            'epochs': ('train_cfg', 'max_epochs'),
            'iterations': ('train_cfg', 'max_iters'),
            'optimizer': ('optim_wrapper', 'optimizer', 'type'),
            'lr': ('optim_wrapper', 'optimizer', 'lr'),
            'weight_decay': ('optim_wrapper', 'optimizer', 'weight_decay'),
            'load_from': ('load_from',),
        }
        found = {name: dig(self.config_values, path) for name, path in paths.items()}
        reason = 'stands in the config'
        return [dict(name=name, value=v, reason=reason) for name, v in found.items() if v is not None]


def load_json(path: Path, kind: type) -> Any:
    """Content of a JSON file; an empty ``kind`` if it is missing, cut off or of another kind."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return kind()
    return content if isinstance(content, kind) else kind()


def is_number(value: Any) -> bool:
    """Whether it is an int or a float, NaN included."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def dig(content: Any, path: Sequence[str]) -> Any:
    """The value at a path in nested dicts and lists; None if there is none."""
    for name in path:
        if isinstance(content, list | tuple):
            content = {str(place): value for place, value in enumerate(content)}
        content = content.get(name) if isinstance(content, dict) else None
    return content
