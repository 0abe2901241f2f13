"""Weights x tasks x seeds: what is measured, once; and the tables of it."""

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from densecl.evaluation.bootstrap import miou_difference
from densecl.runs import benchmark, benchmark_report
from densecl.runs.benchmark import CELL, COUNTS, FIGURES, Cell, Contender, read_tasks
from densecl.runs.intervals import interval, of_error, paired

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/quickstart/densecl_resnet18_sample.py'


@pytest.fixture(scope='module')
def halves(tmp_path_factory):
    """24 images of 48 x 64 whose left and right half have a colour and a class."""
    root = tmp_path_factory.mktemp('halves')
    for folder in ('images', 'labels'):
        (root / folder).mkdir()
    generator = np.random.default_rng(0)
    for i in range(24):
        split = int(generator.integers(16, 48))
        image = generator.integers(0, 90, (48, 64, 3), dtype=np.uint8)
        image[:, split:, 2] += 120
        label = np.zeros((48, 64), np.uint8)
        label[:, split:] = 1
        cv2.imwrite(str(root / 'images' / f'film{i % 4}_{i:03}.png'), image)
        cv2.imwrite(str(root / 'labels' / f'film{i % 4}_{i:03}.png'), label)
    return root


def tool(*arguments) -> subprocess.CompletedProcess:
    """``tools/benchmark.py`` as a user calls it."""
    command = [sys.executable, 'tools/benchmark.py', *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def tasks_file(folder, text: str):
    path = folder / 'tasks.py'
    path.write_text(text)
    return path


def test_measured_once_and_told(halves, tmp_path):
    """The whole tool, in processes of its own: two random networks, frozen and fine-tuned."""
    tasks = tasks_file(
        tmp_path,
        f'data = {str(halves)!r}\n'
        "tasks = dict(frozen=dict(kind='probe', labelled=data, size=(48, 64), groups=r'(film\\d)_'),\n"
        "             tuned=dict(kind='finetune', data=data, size='slim', iters=10, share=0.5))\n",
    )
    out = tmp_path / 'out'
    command = [tasks, '--out', out, '--seeds', '0', '--weights', f'a=random:{CONFIG}']
    frozen = [*command, '--only', 'frozen', '--weights', f'b=random:{CONFIG}']
    assert tool(*frozen).returncode == 0
    done = tool(*command, '--only', 'tuned')
    assert done.returncode == 0 and '1 measurements to make' in done.stdout, done.stdout + done.stderr
    rows = list(csv.DictReader((out / 'results.csv').open()))
    by = {(row['task'], row['figure'], row['weights'], row['seed']): float(row['value']) for row in rows}
    named = {'frozen': ('linear_miou', 'retrieval_miou'), 'tuned': ('mIoU', 'pixel accuracy')}
    assert {key[:2] for key in by} == {(task, name) for task, names in named.items() for name in names}
    assert by['frozen', 'linear_miou', 'a', '0'] == by['frozen', 'linear_miou', 'b', '0'], 'one network'
    assert 20 < by['tuned', 'mIoU', 'a', '0'] <= 100
    assert {row['file'] for row in rows} == {f'random:{CONFIG}'} and all(
        float(row['seconds']) for row in rows
    )
    counts = torch.load(Cell('frozen', 'a', 0).folder(out) / COUNTS, weights_only=True)
    assert set(counts['groups']) == {'film0', 'film1', 'film2', 'film3'}
    assert counts['linear_miou'].shape == (len(counts['names']), 3, 2)
    assert not [path for path in out.rglob('*.pth') if path.name != COUNTS]
    assert (out / 'results.png').stat().st_size > 5000
    text = (out / 'results.md').read_text()
    assert (
        '### frozen: linear_miou' in text and '| +0.00 (one pair) | +0.00 [+0.00, +0.00] (4 groups) |' in text
    )
    stamp = (Cell('frozen', 'a', 0).folder(out) / FIGURES).stat().st_mtime_ns
    again = tool(*frozen)
    assert '0 measurements to make' in again.stdout
    assert (Cell('frozen', 'a', 0).folder(out) / FIGURES).stat().st_mtime_ns == stamp
    tasks.write_text(tasks.read_text().replace('(48, 64)', '(64, 96)'))
    other = tool(*frozen)
    assert other.returncode == 2 and 'measured with size [48, 64], which is [64, 96] now' in other.stderr


@pytest.fixture
def record(tmp_path):
    """``record({weights: [value of seed 0, ...]})`` writes cells of one task and figure."""

    def make(values: dict[str, list[float]], counts: dict | None = None):
        for name, each in values.items():
            for seed, value in enumerate(each):
                folder = Cell('t', name, seed).folder(tmp_path)
                folder.mkdir(parents=True)
                cell = dict(task='t', weights=name, seed=seed, file=f'{name}.pth', sha256='0')
                (folder / CELL).write_text(json.dumps(cell))
                facts = dict(seconds=1.0, machine='m', date='d', commit='c')
                (folder / FIGURES).write_text(json.dumps(dict(figures={'linear_miou': value}, **facts)))
                if counts:
                    torch.save(counts[name][seed], folder / COUNTS)
        return tmp_path

    return make


def test_differences_are_those_of_pairs(record):
    values = {'start': [40.0, 44.0, 42.0], 'new': [41.0, 45.5, 43.2], 'same': [40.5, 43.0, 42.4]}
    out = record(values)
    text = benchmark_report.write(out, order=['start', 'new', 'same'])
    found = paired(values['start'], values['new'])
    lines = {line.split(' | ')[0]: line for line in text.splitlines() if ' | ' in line}
    assert f'**{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]**' in lines['| new'] and found.low > 0
    assert '| new | 41.0, 45.5, 43.2 | 43.23 ± 2.25 |' in lines['| new']
    assert '**' not in lines['| same'] and lines['| start'].endswith('|  |')
    assert list(lines)[2:] == ['| start', '| new', '| same'], 'in the given order'
    against = benchmark_report.write(out, 'new')
    assert f'{-found.mean:+.2f} [{-found.high:+.2f}, {-found.low:+.2f}]' in against
    with pytest.raises(ValueError, match='other: no figures of such weights; there are new, same, start'):
        benchmark_report.write(out, 'other')


def test_images_are_drawn_by_group(record):
    generator = torch.Generator().manual_seed(0)

    def counted(good: int) -> dict:
        hit = torch.randint(good, 90, (12, 3), generator=generator)
        each = torch.stack([hit, torch.full_like(hit, 100), torch.full_like(hit, 100)], 1)
        return dict(linear_miou=each, groups=[i // 3 for i in range(12)], names=list(map(str, range(12))))

    counts = {'start': [counted(10), counted(10)], 'new': [counted(80), counted(80)]}
    out = record({'start': [40.0, 41.0], 'new': [70.0, 72.0]}, counts)
    sides = [[each['linear_miou'] for each in counts[name]] for name in ('start', 'new')]
    found = miou_difference(*sides, groups=[i // 3 for i in range(12)])
    want = of_error(found.mean, found.error, 4)
    text = benchmark_report.write(out, order=['start', 'new'])
    assert f'**{want.mean:+.2f} [{want.low:+.2f}, {want.high:+.2f}]** (4 groups)' in text and want.low > 0
    counts['new'][0]['names'][0] = 'another'
    torch.save(counts['new'][0], Cell('t', 'new', 0).folder(out) / COUNTS)
    assert 'not the same images and labels' in benchmark_report.write(out, order=['start', 'new'])
    counts['new'][0]['names'][0] = '0'
    counts['new'][0]['linear_miou'][3, 1, 0] += 1  # one pixel more of a class
    torch.save(counts['new'][0], Cell('t', 'new', 0).folder(out) / COUNTS)
    assert 'not the same images and labels' in benchmark_report.write(out, order=['start', 'new'])


def test_seeds_of_one_pretraining_are_one_pair(record):
    values = {'start': [40.0, 41.0, 42.0, 43.0], 'new': [41.0, 45.0, 44.0, 46.0]}
    out = record(values)
    for seed in range(4):  # two pretrainings in turn
        file = Cell('t', 'new', seed).folder(out) / CELL
        file.write_text(json.dumps(json.loads(file.read_text()) | dict(file=f'new_{seed % 2}.pth')))
    found = interval([(1.0 + 2.0) / 2, (4.0 + 3.0) / 2])
    text = benchmark_report.write(out, order=['start', 'new'])
    assert f'{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}] (2 pairs of pretrainings)' in text


@pytest.mark.parametrize('start', ['random:c.py', 'three files'])
def test_pretrainings_of_one_side_are_not_counted_twice(record, start):
    """Random weights are others with each seed, but the two pretrainings are only two."""
    values = {'start': [40.0, 41.0, 42.0, 43.0, 44.0], 'new': [41.0, 45.0, 44.0, 46.0, 47.0]}
    out = record(values)
    for seed in range(5):
        random = dict(file='', config='c.py')
        files = dict(start=random if ':' in start else dict(file=f'{seed % 3}'), new=dict(file=f'{seed % 2}'))
        for name, source in files.items():
            file = Cell('t', name, seed).folder(out) / CELL
            file.write_text(json.dumps(json.loads(file.read_text()) | source))
    text = benchmark_report.write(out, order=['start', 'new'])
    if ':' in start:
        found = interval([(1.0 + 2.0 + 3.0) / 3, (4.0 + 3.0) / 2])
        assert f'{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}] (2 pairs of pretrainings)' in text
    else:  # 0 of three meets 0 and 1 of two, and so on: all hang together
        assert '+2.60 (one pair of pretrainings)' in text


def test_what_no_seed_changes_has_no_interval(record):
    text = benchmark_report.write(record({'start': [40.0, 40.0], 'new': [41.5, 41.5]}), order=['start'])
    assert '+1.50 (no seed changes it)' in text and '**' not in text


def test_a_seed_that_is_missing_is_not_paired(record):
    out = record({'start': [40.0, 44.0], 'new': [41.0, 45.5, 43.2], 'one': [39.0]})
    text = benchmark_report.write(out, 'start')
    found = paired([40.0, 44.0], [41.0, 45.5])
    assert f'{found.mean:+.2f}' in text and '-1.00 (one pair)' in text and math.isfinite(found.half)
    assert '| values (seeds 0, 1, 2) |' in text and '| start | 40.0, 44.0, – |' in text
    (Cell('t', 'one', 0).folder(out) / FIGURES).unlink()
    assert benchmark_report.write(out, 'start').endswith('### Not measured\n\n- t, one, seed 0\n')
    (Cell('t', 'one', 0).folder(out) / 'output.log').touch()
    text = benchmark_report.write(out, 'start', ['start', 'one'])
    assert text.endswith('### Not measured\n\n- t, one, seed 0; see cells/t/one-0/output.log\n')
    assert 'Not measured' not in benchmark_report.write(out, 'start', ['start', 'new'])
    with pytest.raises(ValueError, match='one: no figures of such weights'):
        benchmark_report.write(out, 'one')
    assert 'new,2,43.2' in (out / 'results.csv').read_text()


def test_a_failure_is_told_and_the_rest_goes_on(halves, tmp_path, monkeypatch):
    told = []
    tasks = dict(a=dict(kind='probe', labelled='nowhere'), b=dict(kind='probe', labelled='nowhere'))

    def in_process(folder):
        if folder.parent.name == 'a':
            (folder / 'output.log').write_text('Traceback\n  ...\nValueError: no such set\n')
            return False
        (folder / FIGURES).write_text(json.dumps(dict(figures={'linear_miou': 5.0})))
        return True

    typo = dict(tasks, b=dict(kind='probe', labelled='typo'))  # not measured: it can be mended
    monkeypatch.setattr(benchmark, '_in_process', lambda folder: (folder / 'output.log').touch())
    benchmark.benchmark(typo, [Contender('x', config=CONFIG)], [0], tmp_path, show=lambda text: None)
    monkeypatch.setattr(benchmark, '_in_process', in_process)
    failed = benchmark.benchmark(tasks, [Contender('x', config=CONFIG)], [0], tmp_path, show=told.append)
    assert failed == [Cell('a', 'x', 0)]
    assert any(line.startswith('failed: a, x, seed 0: ValueError: no such set; see ') for line in told)
    assert any('b, x, seed 0: linear_miou 5.0' in line for line in told)


def test_other_data_of_the_same_name_are_refused(tmp_path, monkeypatch):
    def in_process(folder):
        (folder / FIGURES).write_text(json.dumps(dict(figures={'linear_miou': 5.0})))
        return True

    def measure(**options):
        task = dict(kind='probe', labelled=str(labels), test=str(maps))
        benchmark.benchmark(dict(a=task), [Contender('x', config=CONFIG)], [0], tmp_path / 'out', show=str)

    monkeypatch.setattr(benchmark, '_in_process', in_process)
    labels, maps = tmp_path / 'train.json', tmp_path / 'maps'
    labels.write_text('{"categories": [1]}')
    maps.mkdir()
    (maps / 'a.png').write_bytes(b'123')
    measure()
    cell = Cell('a', 'x', 0).folder(tmp_path / 'out') / CELL
    noted = json.loads(cell.read_text())
    cell.write_text(json.dumps({key: x for key, x in noted.items() if not key.startswith('content')}))
    measure()  # of a version that did not note it
    assert json.loads(cell.read_text()) == noted
    labels.write_text('{"categories": [2]}')
    with pytest.raises(ValueError, match='x-0 was measured with content of labelled .* now; remove'):
        measure()
    labels.write_text('{"categories": [1]}')
    (maps / 'b.png').write_bytes(b'')
    with pytest.raises(ValueError, match='x-0 was measured with content of test'):
        measure()


def test_an_option_for_a_task_that_is_not_there(tmp_path):
    path = tasks_file(tmp_path, "tasks = dict(a=dict(kind='probe', labelled='x'))")
    assert benchmark.read_tasks(path, {'tasks.a.labelled': 'y'})['a']['labelled'] == 'y'
    with pytest.raises(ValueError, match='has no task aa; it has a'):
        benchmark.read_tasks(path, {'tasks.aa.labelled': 'y'}, ['a'])


def test_weights_of_a_row(tmp_path):
    (tmp_path / 'a, b.pth').touch()
    assert Contender.parse(f'x={tmp_path}/a, b.pth').files == (f'{tmp_path}/a, b.pth',)
    several = Contender.parse('DenseCL=a.pth,b.pth')
    assert [several.of(seed) for seed in range(3)] == ['a.pth', 'b.pth', 'a.pth']
    assert Contender.parse('r=random:c.py') == Contender('r', config='c.py')
    assert Contender.parse('t=timm:resnet18').files == ('timm:resnet18',)
    for text in ('a.pth', '=a.pth', 'a='):
        with pytest.raises(ValueError, match='--weights takes NAME=FILE'):
            Contender.parse(text)
    task = dict(t=dict(kind='probe', labelled='x'))
    with pytest.raises(FileNotFoundError, match='--weights: no/where.pth is no file'):
        benchmark.benchmark(task, [Contender('a', ('no/where.pth',))], [0], tmp_path)
    benchmark.benchmark(task, [Contender('a', (str(tmp_path),))], [], tmp_path)  # a folder of weights
    with pytest.raises(ValueError, match='two of the names are the same'):
        benchmark.benchmark(task, [Contender('a b', ('x',)), Contender('a_b', ('x',))], [0], tmp_path)


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('nothing = 1', 'expected tasks = dict'),
        ("tasks = dict(a=dict(kind='prob'))", "tasks.a.kind must be 'probe', 'finetune' or 'train'"),
        ("tasks = dict(a=dict(kind='probe'))", 'tasks.a needs labelled'),
        ("tasks = dict(a=dict(kind='probe', labelled='x', iters=3))", 'a probe task takes no iters; it'),
    ],
)  # fmt: skip
def test_mistakes_of_a_tasks_file(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        read_tasks(tasks_file(tmp_path, text))


def test_tasks_of_a_set_of_ones_own():
    tasks = benchmark.tasks_of('my/train.json', 'my/val.json')
    assert list(tasks) == ['frozen', 'tenth', 'whole']
    assert tasks['frozen'] == dict(
        kind='probe', labelled='my/train.json', test='my/val.json', probes=['linear', 'retrieval', 'boxes']
    )
    assert tasks['tenth']['share'] == 0.1 and tasks['whole']['val'] == 'my/val.json'
    for name, task in tasks.items():
        benchmark._check(name, task, 'here')
    maps = benchmark.tasks_of('my/maps', only=['frozen'])
    assert maps == dict(frozen=dict(kind='probe', labelled='my/maps', probes=['linear', 'retrieval']))
    with pytest.raises(ValueError, match='my/maps has no task frosen; it has frozen, tenth, whole'):
        benchmark.tasks_of('my/maps', only=['frosen'])


def test_tasks_are_those_of_a_config_or_of_a_set(halves):
    for wrong in ((), ('benchmarks/small.py', '--labelled', halves)):
        done = tool(*wrong, '--weights', f'a=random:{CONFIG}')
        assert done.returncode == 2 and done.stderr.startswith('benchmark: give a config with tasks')


def test_tasks_of_the_small_machine():
    tasks = read_tasks('benchmarks/small.py', {'tasks.camvid.data': 'my/camvid'}, ['camvid', 'bccd_tenth'])
    assert list(tasks) == ['camvid', 'bccd_tenth'] and tasks['camvid']['data'] == 'my/camvid'
    assert tasks['bccd_tenth']['share'] == 0.1
    with pytest.raises(ValueError, match='has no task coc; it has camvid_frozen'):
        read_tasks('benchmarks/small.py', only=['coc'])
