"""Figures of runs and their table: seeds of one name are averaged, everything else stands alone."""

import json
import math
import statistics

import pytest

from densecl.cli import main
from densecl.runs.figures import figure_table, figures, markdown, rows_of
from densecl.runs.folder import RunFolder
from densecl.runs.page import labels, write_page


def fine_tuning(folder, seed, lr='0.001', **metrics):
    """A folder as ``densecl finetune`` leaves it; without metrics it was cut off."""
    (folder / 'log/vis_data').mkdir(parents=True)
    (folder / 'config.py').write_text(f'"""FCN, on a.\n\nlr  {lr}  AdamW\n"""\nseed = {seed}\n')
    (folder / 'log/vis_data/config.py').write_text(f'randomness = dict(seed={seed})\n')
    (folder / 'log/vis_data/scalars.json').write_text('{"mIoU": 12.5, "step": 3}\n')
    if metrics:
        (folder / 'metrics.json').write_text(json.dumps(metrics))
    return folder


def rows(*folders):
    runs = [RunFolder(folder) for folder in folders]
    return rows_of(runs, labels(runs))


def test_seeds_of_one_name_are_averaged(tmp_path):
    values = {10: 40.0, 0: 42.5, 2: 39.0}
    folders = [fine_tuning(tmp_path / f'few_a_{seed}', seed, mIoU=v) for seed, v in values.items()]
    alone = fine_tuning(tmp_path / 'few_b_10', 0, mIoU=1.0)  # its seed is 0, not 10
    first, second = rows(*folders, alone)
    assert first.heading == 'few_a (seeds 0, 2, 10)' and second.heading == 'few_b_10'
    mean, deviation = 121.5 / 3, math.sqrt(sum((v - 40.5) ** 2 for v in values.values()) / 2)
    assert first.shown('fine-tuned: mIoU (%)') == f'{mean:.2f} ± {deviation:.2f}' == '40.50 ± 1.80'
    assert second.shown('fine-tuned: mIoU (%)') == '1.0' and second.shown('other') is None


@pytest.mark.parametrize('name', ['a_{}', 'a-{}', 'a_seed{}', 'a.s{}', 'a-seed_{}'])
def test_names_may_say_the_seed_in_several_ways(tmp_path, name):
    folders = [fine_tuning(tmp_path / name.format(seed), seed, mIoU=1.0) for seed in (3, 4)]
    assert [row.heading for row in rows(*folders)] == ['a (seeds 3, 4)']


def test_other_settings_and_equal_seeds_stand_alone(tmp_path):
    one, two = fine_tuning(tmp_path / 'a_0', 0, mIoU=1.0), fine_tuning(tmp_path / 'a_1', 1, '0.1', mIoU=2.0)
    assert [row.heading for row in rows(one, two)] == ['a_0', 'a_1']
    same = fine_tuning(tmp_path / 'b_0', 0, mIoU=1.0), fine_tuning(tmp_path / 'b_1', 0, mIoU=2.0)
    assert [row.heading for row in rows(*same)] == ['b_0', 'b_1']


def test_unfinished_runs_and_figures_that_some_lack_are_marked(tmp_path):
    whole = fine_tuning(tmp_path / 'a_0', 0, **{'box AP': 40.0, 'box AP50': 70.0})
    half = fine_tuning(tmp_path / 'a_1', 1)
    (row,) = rows(whole, half)
    assert row.heading == 'a (seeds 0, 1, 1 not finished)'
    assert row.shown('fine-tuned: box AP (%)') == '40.0 (1 of 2)'
    assert row.shown('validation: mIoU, last') == '12.5 (1 of 2)'  # of the one without metrics


def test_every_probe_has_its_figure_and_its_gain(tmp_path):
    probe = dict(
        seed=0, linear=dict(mean=40.0), retrieval=dict(mean=float('nan')),
        clusters=[dict(clusters=8, hungarian=[10.0, 11.0], many=[20.0, 24.0]), dict(clusters=64, many='x')],
        discovery=dict(corloc=55.5), boxes=dict(knn=dict(mean_class=70.0), linear=dict(mean_class=80.0)),
    )  # fmt: skip
    (tmp_path / 'probe.json').write_text(json.dumps(probe))
    (tmp_path / 'probe_start.json').write_text(json.dumps(dict(linear=dict(mean=38.5))))
    found = figures(RunFolder(tmp_path))
    assert found == {
        'probe: linear, mIoU (%)': 40.0, 'probe: linear, gain over the start (points)': 1.5,
        'probe: 8 clusters one-to-one, mIoU (%)': 10.5, 'probe: 8 clusters many-to-one, mIoU (%)': 22.0,
        'probe: discovery, CorLoc (%)': 55.5, 'probe: boxes kNN, mean of classes (%)': 70.0,
        'probe: boxes linear, mean of classes (%)': 80.0, 'probe_start: linear, mIoU (%)': 38.5,
    }  # fmt: skip
    (row,) = rows(tmp_path)
    assert row.heading == tmp_path.name  # a folder of probes alone is whole
    assert row.shown('probe: linear, gain over the start (points)') == '+1.5'


def test_page_and_markdown_show_one_table(tmp_path, capsys):
    folders = [fine_tuning(tmp_path / f'x|y_{seed}', seed, mIoU=30.0 + seed) for seed in (0, 1)]
    folders.append(fine_tuning(tmp_path / 'z', 0, aAcc=80.0))
    out = tmp_path / 'table.md'
    with pytest.raises(SystemExit) as left:
        main(['report', *map(str, folders), '--out', str(tmp_path / 'p.html'), '--markdown', str(out)])
    assert left.value.code == 0 and str(out) in capsys.readouterr().out
    deviation = f'{statistics.stdev([30, 31]):.2f}'
    assert out.read_text().splitlines() == [
        '| run | fine-tuned: mIoU (%) | fine-tuned: aAcc (%) |',
        '| --- | --- | --- |',
        f'| x\\|y (seeds 0, 1) | 30.50 ± {deviation} | – |',
        '| z | – | 80.0 |',
    ]
    assert out.read_text() == markdown(rows(*folders))
    page = (tmp_path / 'p.html').read_text()
    for _, cells in figure_table(rows(*folders)):
        assert all(cell in page for cell in cells if cell)
    assert '<th>x|y (seeds 0, 1)</th><th>z</th>' in page and 'standard deviation over seeds' in page
    assert 'standard deviation' not in write_page(folders[2:]).read_text()


def test_markdown_without_figures_ends_in_one_line(tmp_path, capsys):
    folder = fine_tuning(tmp_path / 'a', 0)
    (folder / 'log/vis_data/scalars.json').unlink()
    with pytest.raises(SystemExit) as left:
        main(['report', str(folder), '--markdown', str(tmp_path / 'a.md')])
    message = capsys.readouterr().err.strip()
    assert left.value.code == 2 and 'no figure on labelled images' in message
    assert len(message.splitlines()) == 1 and not (tmp_path / 'a.md').exists()
