"""Compares weights: weights x tasks x seeds, each cell in a separate process; can be resumed."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from densecl.files import sha256_of, write_json
from densecl.messages import check_choice

from .manifest import hash_files

#: Kind of a task -> its keys, and its required keys.
KINDS = {
    'probe': (
        ('labelled', 'test', 'probes', 'clusters', 'size', 'level', 'options', 'groups'),
        ('labelled',),
    ),
    'finetune': (
        ('data', 'val', 'images', 'share', 'class_agnostic', 'task', 'size', 'iters', 'batch', 'lr', 'amp'),
        ('data',),
    ),
    'train': (('config', 'root', 'annotations', 'options', 'amp'), ('config',)),
}
FIGURES, COUNTS, CELL = 'figures.json', 'counts.pth', 'cell.json'


@dataclass(frozen=True)
class Contender:
    """Weights to compare.

    Attributes:
        name: name of the row.
        files: one file per pretraining; seed i takes file i, modulo the number of files.
        config: without files, the config whose backbone is initialised at random for each seed.
    """

    name: str
    files: tuple[str, ...] = ()
    config: str | None = None

    @classmethod
    def parse(cls, text: str) -> 'Contender':
        """Parse ``NAME=FILE``, ``NAME=FILE,FILE`` (one file per seed), or ``NAME=random:CONFIG``.

        Raises:
            ValueError: it has no name or no weights.
        """
        name, _, what = text.partition('=')
        if not name or not what:
            raise ValueError(f'--weights takes NAME=FILE, NAME=FILE,FILE or NAME=random:CONFIG, got {text!r}')
        kind, sign, config = what.partition(':')
        if sign and kind == 'random':
            return cls(name, config=config)
        return cls(name, (what,) if os.path.exists(what) else tuple(what.split(',')))

    def of(self, seed: int) -> str:
        """The file of a seed, ``''`` for random weights."""
        return self.files[seed % len(self.files)] if self.files else ''


@dataclass(frozen=True)
class Cell:
    """One measurement."""

    task: str
    weights: str
    seed: int

    def folder(self, out: Path) -> Path:
        """The folder of its figures."""
        return out / 'cells' / _safe(self.task) / f'{_safe(self.weights)}-{self.seed}'


def _safe(name: str) -> str:
    return re.sub(r'[^\w.+-]+', '_', name)


def read_tasks(path: str | Path, options: dict | None = None, only: Sequence[str] = ()) -> dict[str, dict]:
    """The ``tasks`` of a config: name -> dict with ``kind`` and its keys, see ``KINDS``.

    Args:
        path: the config.
        options: changes of the config, such as ``{'tasks.camvid.data': 'my/camvid'}``.
        only: names of the tasks to read; all by default.

    Raises:
        ValueError: a task, a kind or a key is not known, or a key is missing.
    """
    from mmengine.config import Config

    config = Config.fromfile(path)
    if not config.get('tasks'):
        raise ValueError(f'{path}: expected tasks = dict(NAME=dict(kind=..., ...))')
    for option in options or {}:
        _chosen(config.tasks, [option.split('.')[1]] if option.startswith('tasks.') else [], path)
    config.merge_from_dict(options or {})
    tasks = config.tasks
    found = {name: _plain(task) for name, task in _chosen(tasks, only, path).items()}
    for name, task in found.items():
        _check(name, task, path)
    return found


def tasks_of(
    labelled: str | Path, val: str | Path | None = None, only: Sequence[str] = ()
) -> dict[str, dict]:
    """Tasks for a user's labelled set, from cheap to expensive: ``frozen``, ``tenth``, ``whole``.

    These are frozen probes, and a slim detector or segmentor fine-tuned with a tenth of the labels and with
    all labels.

    Args:
        labelled: COCO json or folder of label maps, see :func:`densecl.evaluation.labelled.open_labelled`.
        val: another such set to score on; by default the parts of ``labelled``, or a split of it.
        only: names of the tasks to use; all by default.

    Raises:
        ValueError: no such task.
    """
    probes = ['linear', 'retrieval'] + ['boxes'] * (Path(labelled).suffix == '.json')
    tuned = dict(kind='finetune', data=str(labelled), size='slim') | (dict(val=str(val)) if val else {})
    probed = dict(kind='probe', labelled=str(labelled), probes=probes) | (dict(test=str(val)) if val else {})
    tasks = dict(frozen=probed, tenth=dict(tuned, iters=150, share=0.1), whole=dict(tuned, iters=300))
    return _chosen(tasks, only, labelled)


def _chosen(tasks: Mapping[str, dict], only: Sequence[str], where: str | Path) -> dict[str, dict]:
    unknown = set(only) - set(tasks)
    if unknown:
        raise ValueError(f'{where} has no task {", ".join(sorted(unknown))}; it has {", ".join(tasks)}')
    return {name: task for name, task in tasks.items() if not only or name in only}


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=list))


def _check(name: str, task: dict, path: str | Path) -> None:
    kind = task.get('kind')
    check_choice(f'{path}: tasks.{name}.kind', kind, KINDS)
    keys, needed = KINDS[kind]
    wrong = set(task) - {*keys, 'kind'}
    if wrong:
        raise ValueError(
            f'{path}: tasks.{name}: a {kind} task takes no {", ".join(sorted(wrong))}; '
            f'it takes {", ".join(keys)}'
        )
    missing = set(needed) - set(task)
    if missing:
        raise ValueError(f'{path}: tasks.{name} needs {", ".join(sorted(missing))}')


def benchmark(
    tasks: Mapping[str, dict],
    contenders: Sequence[Contender],
    seeds: Sequence[int],
    out: str | Path,
    jobs: int = 1,
    show: Callable[[str], None] = print,
) -> list[Cell]:
    """Measure all cells that are not measured yet.

    All contenders of a seed are measured before the next seed, so an interrupted run can still compare.

    Args:
        tasks: result of :func:`read_tasks`.
        contenders: with different names.
        seeds: seeds of the fine-tunings, the probes and the random weights.
        out: output folder; cells in it are not measured again.
        jobs: number of parallel processes, each with one thread (they share a GPU).
        show: called with each message.

    Returns:
        The cells that failed; the others are still measured.

    Raises:
        ValueError: two contenders have the same name, or ``out`` has figures of other weights, other data or
            another task.
        FileNotFoundError: a file is missing.
    """
    out, hashes = Path(out), {}
    names = [_safe(contender.name) for contender in contenders]
    if len(set(names)) < len(names):
        raise ValueError(f'--weights: two of the names are the same: {", ".join(names)}')
    for what in {what for contender in contenders for what in (*contender.files, contender.config)}:
        if what and os.path.isfile(what):
            hashes[what] = sha256_of(what)
        elif what and os.path.isdir(what):
            hashes[what] = hash_files([str(p) for p in Path(what).rglob('*') if p.is_file()], contents=True)
        elif what and ':' not in what and (os.sep in what or Path(what).suffix):
            raise FileNotFoundError(f'--weights: {what} is no file')
    contents = {name: _contents(task) for name, task in tasks.items()}
    todo = []
    for seed in seeds:
        for name, task in tasks.items():
            for contender in contenders:
                cell, what = Cell(name, contender.name, seed), contender.of(seed) or contender.config
                content = dict(asdict(cell), settings=task, file=contender.of(seed), config=contender.config)
                _write_cell(cell.folder(out), content | contents[name] | dict(sha256=hashes.get(what)))
                if not (cell.folder(out) / FIGURES).is_file():
                    todo.append(cell)
    show(f'{len(todo)} measurements to make, {len(seeds) * len(tasks) * len(contenders)} in all')
    began, failed = time.monotonic(), []

    def one(cell: Cell) -> None:
        start, folder = time.monotonic(), cell.folder(out)
        if not _in_process(folder):
            failed.append(cell)
            log = folder / 'output.log'
            last = (log.read_text().strip().splitlines() or [''])[-1]
            show(f'failed: {cell.task}, {cell.weights}, seed {cell.seed}: {last}; see {log}')
            return
        figures = json.loads((folder / FIGURES).read_text())['figures']
        shown = ', '.join(f'{name} {value:.1f}' for name, value in figures.items())
        seconds = time.monotonic() - start
        show(f'{cell.task}, {cell.weights}, seed {cell.seed}: {shown} ({seconds:.0f} s)')

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, todo))
    show(f'{len(todo) - len(failed)} made in {(time.monotonic() - began) / 60:.1f} minutes')
    return failed


def _contents(task: Mapping[str, Any]) -> dict[str, str]:
    """Short hashes of the labelled data: content of a file, names and sizes of a folder's files."""
    given = {key: Path(task[key]) for key in ('labelled', 'test', 'data', 'val', 'images') if task.get(key)}
    if task.get('annotations'):
        given['annotations'] = Path(task.get('root') or '') / task['annotations']
    found = {}
    for key, path in given.items():
        if path.is_file():
            found[f'content of {key}'] = sha256_of(path)[:12]
        elif path.is_dir():
            files = [str(file) for file in path.rglob('*') if file.is_file()]
            found[f'content of {key}'] = hash_files(files)[:12]
    return found


def _write_cell(folder: Path, content: dict) -> None:
    """Write the description of a cell; an existing description must be the same."""
    if (folder / FIGURES).is_file():
        then, now = (_flat(each) for each in (json.loads((folder / CELL).read_text()), content))
        for key in sorted(then.keys() | now.keys()):
            if key.startswith('content of ') and key not in then:
                continue  # not noted then
            if then.get(key) != now.get(key):
                raise ValueError(
                    f'{folder} was measured with {key} {then.get(key)}, which is {now.get(key)} now; '
                    'remove the folder, or take another --out'
                )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CELL, content)


def _flat(cell: dict) -> dict[str, Any]:
    return {name: value for name, value in cell.items() if name != 'settings'} | cell['settings']


def _in_process(folder: Path) -> bool:
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    with (folder / 'output.log').open('w') as log:
        command = [sys.executable, '-m', 'densecl.runs.benchmark', str(folder)]
        return not subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment).returncode


def measure(folder: Path) -> None:
    """Measure the cell of a folder and write its figures there."""
    import densecl.registry  # noqa: F401  (makes the scope "densecl" known)
    from densecl.provenance import provenance

    cell, began = json.loads((folder / CELL).read_text()), time.monotonic()
    kinds = {'probe': _probe, 'finetune': _finetune, 'train': _train}
    settings = {key: value for key, value in cell['settings'].items() if key != 'kind'}
    figures = kinds[cell['settings']['kind']](cell, folder, **settings)
    for left in (*folder.glob('*.pth'), *folder.glob('run/*.pth')):
        if left.name != COUNTS:
            left.unlink()  # the figures of a fine-tuning are enough
    facts = dict(seconds=round(time.monotonic() - began, 1), **provenance())
    write_json(folder / FIGURES, dict(figures=figures, **facts))


def _encoder(cell: dict, options: dict | None):
    from mmengine.registry import init_default_scope

    from densecl.engine.launch import read_config
    from densecl.evaluation.features import carries_config, open_encoder, random_encoder

    init_default_scope('densecl')
    if not cell['file']:
        return random_encoder(read_config(cell['config']), cell['seed'])
    options = {} if carries_config(cell['file']) else options or {}
    return open_encoder(cell['file'], **options)


def _weights(cell: dict, folder: Path) -> str:
    """A file or name to fine-tune from; random weights are written to a file."""
    if cell['file']:
        return cell['file']
    from densecl.engine.launch import read_config
    from densecl.evaluation.features import random_encoder

    from .pilot_measures import write_backbone

    config = read_config(cell['config'])
    config.start = dict(name='random')
    return str(write_backbone(random_encoder(config, cell['seed']), config, folder / 'random.pth'))


def _probe(
    cell: dict, folder: Path, labelled: str, test=None, size=None, options=None, groups=None, **settings
) -> dict[str, float]:
    import torch

    from densecl.evaluation.labelled import open_labelled
    from densecl.evaluation.probes import SEGMENTING, probe
    from densecl.evaluation.segmentation import iou_counts

    encoder = _encoder(cell, options).to('cuda' if torch.cuda.is_available() else 'cpu')
    opened = open_labelled(labelled, test, encoder.decoder)
    found = probe(encoder, opened, tuple(size or opened.use_size()), seed=cell['seed'], **settings)
    counts = {f'{n}_miou': iou_counts(x) for n in SEGMENTING if (x := getattr(found, n)) is not None}
    names = [path.name for path in opened.test.images]
    torch.save(dict(counts, groups=_groups(names, groups), names=names), folder / COUNTS)
    return found.figures()


def _groups(names: Sequence[str], pattern: str | None) -> list[str]:
    """The match of a regular expression at the start of each name; without a pattern, the name itself."""
    if pattern is None:
        return list(names)
    found = [re.match(pattern, name) for name in names]
    if None in found:
        raise ValueError(f'groups={pattern!r} does not match the image {names[found.index(None)]}')
    return [match.group(1) if match.groups() else match.group() for match in found]


def _finetune(cell: dict, folder: Path, data: str, **settings) -> dict[str, float]:
    from mmengine.registry import init_default_scope

    from densecl.finetune import finetune, write_config

    init_default_scope('densecl')
    config = write_config(_weights(cell, folder), data, folder / 'run', seed=cell['seed'], **settings)
    return finetune(config, pictures=0)


def _train(
    cell: dict, folder: Path, config: str, root=None, annotations=None, options=None, amp=None
) -> dict[str, float]:
    from densecl.engine import launch
    from densecl.finetune.run import train_and_test

    weights = _weights(cell, folder)
    cfg = launch.load_config(config, str(folder / 'run'), options, 'none')
    moved: dict[str, Any] = {'randomness.seed': cell['seed']}
    if root:
        moved |= {f'{part}_dataloader.dataset.data_root': root for part in ('train', 'val', 'test')}
    if annotations:
        file = str(Path(root or '') / annotations)
        moved |= {f'{part}_evaluator.ann_file': file for part in ('val', 'test')}
    cfg.merge_from_dict(moved)
    launch.use_pretrained(cfg, weights)
    if amp:
        launch.use_amp(cfg, amp)
    return train_and_test(cfg)


if __name__ == '__main__':
    measure(Path(sys.argv[1]))
