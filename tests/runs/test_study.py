"""What a study says is what its CSVs say."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from densecl.evaluation.bootstrap import miou_difference
from densecl.runs import study_files, study_page
from densecl.runs.benchmark import CELL, COUNTS, FIGURES, Cell
from densecl.runs.benchmark_report import COLUMNS
from densecl.runs.differences import (
    Difference,
    Table,
    over_blocks,
    over_images,
    over_seeds,
    tables,
    together,
)
from densecl.runs.intervals import of_error, paired
from densecl.runs.study import read_study

ROOT = Path(__file__).resolve().parents[2]
#: Linear mIoU of seeds 0, 1, 2. Differences of DenseCL from random: 4, 5, 6; from MoCo v2: 2, -1, 0.5.
VALUES = {'random': (20, 21, 22), 'MoCo v2': (22, 27, 27.5), 'DenseCL': (24, 26, 28)}
SAID = dict(
    title='From random weights',
    about='A protocol.',
    rows={'none': ['random'], 'image': ['MoCo v2'], 'cells': ['DenseCL']},
    against=['random', 'MoCo v2'],
    columns=[dict(title='CamVid linear', task='camvid', figure='linear_miou')],
)


def write_figures(folder: Path, values: dict = VALUES, task='camvid', figure='linear_miou') -> None:
    """``results.csv`` of a study, a file a seed."""
    rows = []
    for name, each in values.items():
        for seed, value in enumerate(each):
            file = 'random:configs/MoCo v2_1/a.py' if name == 'random' else f'{name}_{seed}/epoch_2.pth'
            facts = dict(seconds=1, machine='2 cores', date=f'2026-11-2{seed}', commit='abc', sha256='0')
            rows.append(
                dict(task=task, figure=figure, weights=name, seed=seed, value=value, file=file, **facts)
            )
    with (folder / 'results.csv').open('a', newline='') as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader() if not file.tell() else None
        writer.writerows(rows)


@pytest.fixture
def folder(tmp_path):
    """A study of three weights and one figure."""
    (tmp_path / 'study.json').write_text(json.dumps(SAID))
    write_figures(tmp_path)
    return tmp_path


def said(folder: Path, **changed) -> None:
    """Change ``study.json``."""
    (folder / 'study.json').write_text(json.dumps(SAID | changed))


def least_squares_error(values: dict) -> float:
    """Of a difference of two rows of a full table of weights by seeds, from the formula of two-way ANOVA."""
    y = np.array(list(values.values()), float)
    noise = y - y.mean(1, keepdims=True) - y.mean(0) + y.mean()
    spread = (noise**2).sum() / ((y.shape[0] - 1) * (y.shape[1] - 1))
    return (2 * spread / y.shape[1]) ** 0.5


def test_what_holds_by_hand(folder):
    """Paired by seed, with the spread of all rows; then Benjamini and Hochberg over the three."""
    found = read_study(folder).compare()
    error = least_squares_error(VALUES)
    means = {('random', 'MoCo v2'): 4.5, ('random', 'DenseCL'): 5, ('MoCo v2', 'DenseCL'): 0.5}
    for (_, one, two), each in found.items():
        assert each.difference.interval.mean == pytest.approx(means[one, two])
        assert each.difference.interval.error == pytest.approx(error)
        assert each.p_value == pytest.approx(2 * stats.t.sf(means[one, two] / error, 4))
    ordered = sorted(each.p_value for each in found.values())
    assert ordered[1] * 3 / 2 < 0.05 < ordered[2], 'two are left by the rule'
    assert {pair for (_, *pair), each in found.items() if each.holds for pair in [tuple(pair)]} == {
        ('random', 'MoCo v2'), ('random', 'DenseCL')
    }  # fmt: skip
    # of many comparisons that are noise the same two p-values are not enough
    noise = {'random': (1, 2, 3), 'MoCo v2': (3, 2, 1), 'DenseCL': (2, 2, 2.1)}
    columns = [dict(SAID['columns'][0], title=str(i), figure=f'f{i}') for i in range(9)]
    for column in columns:
        write_figures(folder, noise, figure=column['figure'])
    said(folder, columns=SAID['columns'] + columns)
    assert not any(each.holds for each in read_study(folder).compare().values())


def table_of(values: dict, files: str = 'x') -> Table:
    """A table; the seeds of each row take the files in turn."""
    rows = [
        dict(task='t', figure='f', weights=name, seed=seed, value=value, file=files[seed % len(files)])
        for name, each in values.items()
        for seed, value in enumerate(each)
    ]
    return tables(rows)[0]


def test_two_rows_are_the_paired_t_test():
    values = {'one': (1.0, 2.0, 4.0, 3.0), 'two': (2.0, 2.5, 6.0, 3.5)}
    found, want = over_blocks(table_of(values), 'one', 'two').interval, paired(*values.values())
    assert (found.mean, found.low, found.high) == pytest.approx((want.mean, want.low, want.high))


def test_a_row_of_one_seed_is_judged_by_the_spread_of_the_others():
    """a and b differ by 1 and 1.4: the spread is 0.2, and a is at -0.1 for seed 0, with leverage 3 / 4."""
    found = over_blocks(table_of({'a': (0, 2), 'b': (1, 3.4), 'c': (5,)}), 'a', 'c').interval
    assert (found.mean, found.error, found.count) == pytest.approx((5.1, 0.2 * 1.75**0.5, 2))
    alone = over_blocks(table_of({'a': (0,), 'c': (5,)}), 'a', 'c')
    assert not alone.tested and alone.interval.mean == pytest.approx(5)
    assert not over_blocks(table_of({'a': (1, 1), 'b': (2, 2)}), 'a', 'b').tested, 'no seed changes them'


def test_seeds_of_one_row_alone_tell_the_spread():
    """The two are paired in seed 0. Others are in a alone: 2 and 3, a variance of 0.5 each, of a pair 1."""
    found = over_blocks(table_of({'a': (1, 2, 3), 'b': (5,), 'c': (7,)}), 'a', 'b').interval
    assert (found.mean, found.error, found.count) == pytest.approx((4, 1, 2))


def test_seeds_are_paired_by_number_not_by_order():
    """b is a + 1 in the two seeds that both have; seeds change everything."""
    table = table_of({'a': (0, 10, 20, 30), 'b': (21, 31)})
    table.values['b'] = {2: 21, 3: 31}
    table.files['b'] = {2: 'b', 3: 'b'}
    found = over_blocks(table, 'a', 'b').interval
    assert found.mean == pytest.approx(1) == over_seeds(table, 'a', 'b').interval.mean
    without = table_of({'a': (1, 2), 'b': (5, 7)})
    without.values['b'], without.files['b'] = {7: 5, 8: 7}, {7: 'b', 8: 'b'}
    assert over_blocks(without, 'a', 'b').interval.mean == pytest.approx(4.5), 'no seed in common'


def test_unequal_pretrainings_are_weighted_as_their_seeds():
    """Four seeds of one pretraining, one of the other: the difference is that of the means that are shown."""
    table = table_of({'a': (1, 2, 4, 3, 2), 'b': (4, 9, 8, 6, 5), 'c': (1, 3, 3, 4, 2)})
    table.files['b'] = {seed: 'y' if seed == 1 else 'x' for seed in range(5)}
    found = over_blocks(table, 'a', 'b')
    assert found.interval.mean == pytest.approx(4) and found.tested


def test_seeds_of_one_pretraining_count_once():
    values = {'a': (1, 5, 3, 5), 'b': (4, 7, 4, 8), 'c': (1, 1.5, 1, 2.5)}
    found = over_blocks(table_of(values, 'xy'), 'a', 'b').interval
    want = over_blocks(table_of({'a': (2, 5), 'b': (4, 7.5), 'c': (1, 2)}), 'a', 'b').interval
    assert (found.mean, found.error, found.count) == pytest.approx((want.mean, want.error, want.count))


def test_errors_of_seeds_and_images_add_up_as_squares():
    seeds, images = Difference(of_error(5, 0.3, 10), 'seeds'), Difference(of_error(5.1, 0.4, 9), 'images')
    found = together(seeds, images)
    assert (found.interval.mean, found.interval.error, found.over) == pytest.approx((5, 0.5, 'both'))
    # Welch and Satterthwaite: 0.25 ** 2 / (0.09 ** 2 / 9 + 0.16 ** 2 / 8) degrees of freedom
    assert found.interval.count - 1 == pytest.approx(0.0625 / (0.0009 + 0.0032))
    alone = together(seeds, None).interval
    assert (alone.error, alone.count) == pytest.approx((0.3, 10))
    assert together(None, None) is None
    one = together(Difference(of_error(5, 0.0, 3), 'seeds', fixed=True), images)
    assert (one.over, one.interval.mean, one.interval.error) == pytest.approx(('images', 5, 0.4))


def test_the_page_says_it(folder):
    text = study_page.full(read_study(folder), 'there', None)
    assert '| cells | DenseCL | 3 | – | – | – | 26.00 ± 2.00 |' in text
    half = 2.776 * least_squares_error(VALUES)
    assert f'| cells | DenseCL | **+5.00 [+{5 - half:.2f}, +{5 + half:.2f}]** s |' in text
    assert '| CamVid linear |' in text and 'over the seeds (3 seeds).' in text
    assert 'beside random, MoCo v2 in this order: ▲ above' in text
    assert '| image | MoCo v2 | ▲ – |\n| cells | DenseCL | ▲ · |' in text and '| random | – – |' not in text
    assert 'Each by itself 2 would be told apart from 0, among all 2 are.' in text
    assert '2 cores, 2026-11-20 to 2026-11-22; commits abc.' in text
    short = study_page.short(read_study(folder))
    assert '| cells | DenseCL | 26.0 (**+5.0**, +0.5) |' in short and '| none | random | 21.0 |' in short


def test_below_and_not_tested(folder):
    write_figures(folder, {'random': (9, 8, 7.2), 'MoCo v2': (5, 4, 3.1), 'DenseCL': (8.9,)}, 'bccd', 'AP')
    write_figures(folder, {'random': (9,), 'MoCo v2': (5,), 'DenseCL': (6,)}, 'bccd', 'AP50')
    columns = [dict(title=figure, task='bccd', figure=figure) for figure in ('AP', 'AP50')]
    said(folder, columns=columns, against=['random'])
    text = study_page.full(read_study(folder), 'there', None)
    assert '| image | MoCo v2 | ▼ | ? |\n| cells | DenseCL | · | ? |' in text
    assert '-3.00 (not tested) |' in text and 'AP (1 to 3 seeds) | AP50 (1 seed) |' in text


def test_a_row_of_the_full_table_alone(folder):
    said(folder, rows={'none': ['random'], 'both': ['MoCo v2', 'DenseCL']}, only_full=['MoCo v2'])
    study = read_study(folder)
    short = study_page.short(study)
    assert '| both | DenseCL | 26.0' in short and '| MoCo v2 |' not in short
    assert '| both | MoCo v2 |' in study_page.full(study, folder, None)
    said(folder, only_full=['SimCLR'])
    with pytest.raises(ValueError, match='"only_full" has what no row has: SimCLR'):
        read_study(folder)


def test_weights_may_be_called_otherwise(folder):
    said(folder, rows={'none': {'random': 'no pretraining'}, 'image': ['MoCo v2'], 'cells': ['DenseCL']})
    with pytest.raises(ValueError, match='"against" names what no row is called: random'):
        read_study(folder)
    said(folder, rows=json.loads((folder / 'study.json').read_text())['rows'], against=['no pretraining'])
    assert '| none | no pretraining | 21.0 |' in study_page.short(read_study(folder))


def counted(good: int, seed: int, images: int = 40) -> torch.Tensor:
    """(M, 3, K) counts of a segmentation."""
    hit = torch.randint(good, 90, (images, 3), generator=torch.Generator().manual_seed(seed))
    return torch.stack([hit, torch.full_like(hit, 100), torch.full_like(hit, 100)], 1)


def write_cells(out: Path, groups: list) -> dict[tuple[str, int], torch.Tensor]:
    """A folder of ``tools/benchmark.py``: two weights, three seeds."""
    counts = {}
    for name, good in (('random', 10), ('DenseCL', 11)):
        for seed in range(3):
            folder = Cell('camvid', name, seed).folder(out)
            folder.mkdir(parents=True)
            file = '' if name == 'random' else f'/a/runs/densecl_{seed}/epoch_2.pth'
            cell = dict(
                task='camvid', weights=name, seed=seed, file=file, config='/a/configs/x.py', sha256='0'
            )
            (folder / CELL).write_text(json.dumps(cell))
            facts = dict(seconds=1.0, machine='m', date='2026-11-20', commit='')
            value = VALUES[name][seed]
            (folder / FIGURES).write_text(json.dumps(dict(figures={'linear_miou': value}, **facts)))
            counts[name, seed] = counted(good, seed + good)
            names = [str(i) for i in range(40)]
            torch.save(dict(linear_miou=counts[name, seed], groups=groups, names=names), folder / COUNTS)
    return counts


def test_counts_by_group_give_the_same_interval(tmp_path):
    """Groups are drawn whole, so that their sums say as much as their images."""
    groups = [f'film{i // 5}' for i in range(40)]
    counts = write_cells(tmp_path / 'out', groups)
    study = tmp_path / 'study'
    study_files.add_benchmark(study, tmp_path / 'out', dict(commit='abc'))
    said(study, rows={'': ['random', 'DenseCL']}, against=['random'])
    found = read_study(study).compare()['CamVid linear', 'random', 'DenseCL']
    sides = [[counts[name, seed] for seed in range(3)] for name in ('random', 'DenseCL')]
    want = miou_difference(*sides, groups=groups)
    images = over_images(read_study(study).tables[0], 'random', 'DenseCL').interval
    assert (images.mean, images.error, images.count) == pytest.approx((want.mean, want.error, 8))
    error = (want.error**2 + least_squares_error({n: VALUES[n] for n in ('random', 'DenseCL')}) ** 2) ** 0.5
    assert found.difference.over == 'both'
    assert found.difference.interval.error == pytest.approx(error)
    rows = list(csv.DictReader((study / 'results.csv').open()))
    assert {row['file'] for row in rows} == {
        'random:configs/x.py', *(f'densecl_{seed}/epoch_2.pth' for seed in range(3))
    }  # fmt: skip
    assert {row['commit'] for row in rows} == {'abc'}
    again = study_files.add_benchmark(study, tmp_path / 'out', {})
    assert again.endswith('6 figures, 6 of them in place of older ones')
    assert (study / 'counts.npz').stat().st_size < 8000


def test_many_groups_are_dealt_to_thirty():
    values = counted(10, 0).numpy()
    names, sums = study_files._summed([f'{i}' for i in range(40)], values)
    assert len(names) == 30 and (sums.sum(0) == values.sum(0)).all()
    assert (sums[3] == values[3] + values[33]).all() and (sums[12] == values[12]).all()


def test_other_images_are_refused(tmp_path):
    write_cells(tmp_path / 'one', ['a'] * 20 + ['b'] * 20)
    write_cells(tmp_path / 'two', ['a'] * 20 + ['c'] * 20)
    study_files.add_benchmark(tmp_path / 'study', tmp_path / 'one', {})
    with pytest.raises(ValueError, match='camvid has other test images'):
        study_files.add_benchmark(tmp_path / 'study', tmp_path / 'two', {})


@pytest.fixture
def run(tmp_path):
    """A folder of a pretraining as ``tools/train.py`` leaves it: 2 epochs of 10 steps of 16 images."""
    folder = tmp_path / 'work_dirs/MoCo v2_1'
    log = folder / '20261127_150000'
    (log / 'vis_data').mkdir(parents=True)
    (folder / 'moco_small.py').write_text('')
    (log / 'vis_data/config.py').write_text(
        "model = dict(backbone=dict(type='mmdet.ResNet', depth=18))\ntrain_cfg = dict(max_epochs=2)\n"
        'views = [dict(size=112), dict(size=112)]\nrandomness = dict(seed=1)\n'
    )
    facts = dict(machine='2 cores', date='2026-11-27', commit='abc', command='train.py x --work-dir /a/b/c/d')
    (log / 'a.log').write_text(
        f'2026/11/27 15:00:00 - mmengine - INFO - made by {json.dumps(facts)}\n'
        '2026/11/27 15:00:01 - mmengine - INFO - epoch 2/2 [10/10] 100.0 % | 32 img/s\n'
    )
    lines = [dict(step=s, iter=s, time=0.5, images_per_s=32.0) for s in (10, 20)]
    lines += [{'step': s, 'probe/linear_miou': 20.0 + s, 'guard/dse': -1.0} for s in (0, 10, 20)]
    (log / 'vis_data/scalars.json').write_text('\n'.join(map(json.dumps, lines)))
    return folder


def test_a_run_is_told_with_its_cost_and_its_curves(folder, run):
    told = study_files.add_runs(folder, [run], dict(commit='not taken'))
    assert told == ['MoCo v2_1: MoCo v2, 320 images in 0.2 minutes']  # 20 steps of half a second
    line = next(csv.DictReader((folder / 'runs.csv').open()))
    assert line == dict(
        weights='MoCo v2', run='MoCo v2_1', seed='1', config='moco_small.py', backbone='ResNet 18',
        side='112',
        batch='16', epochs='2', images='320', minutes='0.2', photos_per_s='32.0', machine='2 cores',
        date='2026-11-27', commit='abc', command='train.py x --work-dir c/d',
    )  # fmt: skip
    said(folder, curves={'linear mIoU': 'probe/linear_miou', 'DSE': 'guard/dse'})
    study = read_study(folder)
    assert '| image | MoCo v2 | 3 | 320 | 0.2 | 32 | 25.50 ± 3.04 |' in study_page.full(
        study, 'there', 'p.png'
    )
    assert study_page._curves(study, 'probe/linear_miou') == {
        'MoCo v2': {'MoCo v2_1': {0: 20, 0.16: 30, 0.32: 40}}
    }
    study_page.draw_curves(study, folder / 'curves.png')
    assert study_page.shows(folder / 'curves.png') == study_page.digest(study)
    with (folder / 'curves.csv').open('a') as file:
        file.write('MoCo v2,other,2,320,guard/dse,-2\n')
    assert study_page.shows(folder / 'curves.png') != study_page.digest(read_study(folder))
    said(folder, curves={'CKA': 'guard/cka'})
    with pytest.raises(
        ValueError, match='curves.csv has no figure guard/cka; it has guard/dse, probe/linear_miou'
    ):
        study_page.draw_curves(read_study(folder), folder / 'curves.png')


def test_a_run_without_figures_is_refused(folder, run):
    other = run.rename(run.with_name('unknown'))
    with pytest.raises(ValueError, match=r'unknown: weights in .*results.csv whose file is in .*: none'):
        study_files.add_runs(folder, [other], {})


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        (dict(rows={'': ['random', 'MoCo v2']}), 'no row of study.json has DenseCL'),
        (dict(rows=SAID['rows'] | {'new': ['BYOL']}), 'results.csv has no figures of BYOL'),
        (dict(rows=SAID['rows'] | {'new': ['random']}), 'study.json has twice random'),
        (dict(against=['randon']), '"against" names what no row is called: randon'),
        (dict(colums=[]), 'study.json takes no colums; its keys are title'),
        (dict(columns=[dict(title='a', task='b')]), 'a column has title, task, figure'),
        (dict(columns=[dict(title='a', task='b', figure='c')]), 'has no b/c; it has camvid/linear_miou'),
    ],
)  # fmt: skip
def test_mistakes_of_a_study(folder, changed, message):
    said(folder, **changed)
    with pytest.raises(ValueError, match=message):
        read_study(folder)


def test_a_value_that_is_none(folder):
    path = folder / 'results.csv'
    path.write_text(path.read_text().replace(',24,', ',?,'))
    with pytest.raises(ValueError, match='results.csv, line 8: seed and value must be numbers'):
        read_study(folder)


def tool(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    """``tools/results.py`` of a copy of the project."""
    command = [sys.executable, str(root / 'tools/results.py'), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=root)


def test_the_documents_are_up_to_date():
    done = tool(ROOT, '--check')
    assert done.returncode == 0, done.stdout + done.stderr


def test_documents_are_written_and_seen_when_stale(folder, run):
    study_files.add_runs(folder, [run], {})
    said(folder, curves={'DSE': 'guard/dse'})
    root = folder / 'project'
    shutil.copytree(folder, root / 'benchmarks/results/small', ignore=lambda *_: ['project', 'work_dirs'])
    (root / 'tools').mkdir()
    shutil.copy(ROOT / 'tools/results.py', root / 'tools')
    (root / 'docs').mkdir()
    block = '<!-- results: small {} -->\n<!-- end of results -->\nafter\n'
    (root / 'README.md').write_text('before\n' + block.format('short'))
    (root / 'docs/results.md').write_text('before\n' + block.format('full'))
    assert tool(root, '--check').returncode == 1 and not (root / 'docs/images').exists()
    assert tool(root).returncode == 0
    assert tool(root, '--check').returncode == 0
    text = (root / 'docs/results.md').read_text()
    assert text.startswith('before\n') and text.endswith('after\n')
    assert '(images/curves_small.png)' in text and (root / 'docs/images/curves_small.png').is_file()
    assert '(../benchmarks/results/small/runs.csv)' in text
    path = root / 'benchmarks/results/small/results.csv'
    path.write_text(path.read_text().replace(',24,', ',34,'))
    done = tool(root, '--check')
    assert done.returncode == 1 and 'README.md is not what the CSVs say' in done.stdout
    (root / 'README.md').write_text(block.format('short').replace('small', 'smal'))
    done = tool(root)
    assert (
        done.returncode == 2
        and done.stderr.startswith('results: ')
        and 'smal/study.json is missing' in done.stderr
    )
    assert len(done.stderr.splitlines()) == 1


def test_published_figures_name_their_source():
    text = study_page.published(ROOT / 'benchmarks/results/published.csv')
    rows = list(csv.DictReader((ROOT / 'benchmarks/results/published.csv').open()))
    assert all(row['source'].startswith('github.com/') for row in rows) and len(rows) > 20
    assert '| DenseCL | ImageNet | 200 | 58.7 | 69.4 | – | – | [3] |' in text
    assert '[3] github.com/WXinlong/DenseCL' in text
    figures = [float(row[name]) for row in rows for name in list(row)[3:-1] if row[name]]
    assert np.all((np.array(figures) > 20) & (np.array(figures) < 80))
