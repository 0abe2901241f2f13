"""A pilot's sentence follows from paired differences; its record survives an interruption."""

import json

import pytest

from densecl.runs.pilot import Record, differences, plot, summary, verdict


def record(tmp_path, **arms) -> Record:
    """``start_linear=[1, 2]``: the values of seeds 0 and 1."""
    found = Record.open(tmp_path / 'pilot.json')
    for name, values in arms.items():
        arm, kind = name.split('_')
        for seed, value in enumerate(values):
            found.add(arm, seed, **{kind: value})
    return found


def test_go_where_all_seeds_gain(tmp_path):
    found = record(
        tmp_path, random_linear=[1, 2, 3], start_linear=[40, 42, 41], continued_linear=[41, 43.2, 42.1]
    )
    gain = differences(found)['linear']
    assert gain.mean == pytest.approx(1.1) and gain.low > 0
    text = summary(found)
    assert text.splitlines()[-1].startswith('go: continuing raises linear +1.10 (+0.85 to +1.35)')
    assert '41.00 ± 2.48' in text  # seeds 40, 42, 41: deviation 1, t 4.303 / sqrt(3)


def test_an_arm_without_a_figure_keeps_its_column(tmp_path):
    found = record(tmp_path, start_linear=[40, 41], continued_linear=[41, 43])
    head, line = summary(found).splitlines()[:2]
    assert line.split()[:2] == ['linear', '–'] and line.index('–') == head.index('random') + len('random') - 1


def test_stop_where_anything_falls(tmp_path):
    found = record(
        tmp_path,
        start_linear=[40, 42, 41],
        continued_linear=[41, 43, 42],
        start_retrieval=[30, 30, 30],
        continued_retrieval=[29, 29, 29.1],
    )
    text = verdict(differences(found))
    assert text.startswith('stop: continuing lowers retrieval -0.97') and 'stay with your start' in text


def test_not_known_where_seeds_disagree_or_are_one(tmp_path):
    found = record(tmp_path, start_linear=[40, 42, 41], continued_linear=[43, 41, 42])
    assert verdict(differences(found)).startswith('not known: no difference is beyond chance (linear +1.00')
    single = record(tmp_path / 'x', start_linear=[40], continued_linear=[50])
    assert '(linear +10.00 (one value))' in verdict(differences(single))


def test_a_probe_that_the_seed_does_not_change_is_judged_over_images(tmp_path):
    """One image carries the whole gain: its choice is chance, however equal the seeds are."""

    def counts(hits):
        return [[[hit, 5], [10, 10], [10, 10]] for hit in hits]

    found = Record.open(tmp_path / 'pilot.json')
    for seed in range(3):
        found.add('start', seed, dict(linear=counts([5, 5, 5, 5])), linear=50.0)
        found.add('continued', seed, dict(linear=counts([10, 5, 5, 5])), linear=56.0)
    gain = differences(found)['linear']
    assert gain.mean == pytest.approx(6.0) and gain.low < 0 < gain.high
    assert verdict(differences(found)).startswith('not known')
    assert differences(Record.open(tmp_path / 'pilot.json'))['linear'] == gain


def test_figures_of_other_data_are_not_taken(tmp_path):
    found = record(tmp_path, start_linear=[40])
    found.is_about(photos='a', labelled='b')
    Record.open(tmp_path / 'pilot.json').is_about(photos='a', labelled='b')
    with pytest.raises(ValueError, match='pilot.json has figures with other labelled: give another --out'):
        Record.open(tmp_path / 'pilot.json').is_about(photos='a', labelled='c')


def test_a_try_that_was_refused_does_not_bind(tmp_path):
    for start in ('nosuch.pth', 'imagenet'):
        Record.open(tmp_path / 'pilot.json').is_about(photos='a', start=start)
    assert Record.open(tmp_path / 'pilot.json').facts == dict(about=dict(photos='a', start='imagenet'))
    (tmp_path / 'continued').mkdir()
    (tmp_path / 'continued' / 'config.py').touch()  # the pretraining has begun
    with pytest.raises(ValueError, match='other start: give another --out'):
        Record.open(tmp_path / 'pilot.json').is_about(photos='a', start='nosuch.pth')
    (tmp_path / 'pilot.json').write_text('{"facts": ')
    with pytest.raises(ValueError, match='pilot.json is not json'):
        Record.open(tmp_path / 'pilot.json')


def test_only_shared_seeds_are_paired(tmp_path):
    found = record(tmp_path, start_linear=[40, 42, 41], continued_linear=[41, 43])
    assert differences(found)['linear'].count == 2


def test_record_is_read_again(tmp_path):
    first = record(tmp_path, start_linear=[40.5])
    first.facts['iters'] = 7
    first.save()
    again = Record.open(tmp_path / 'pilot.json')
    assert again.figures == first.figures and again.facts == {'iters': 7}
    assert again.has('start', 0, 'linear') and not again.has('start', 0, 'linear', 'retrieval')
    assert not again.has('start', 1, 'linear')
    assert json.loads((tmp_path / 'pilot.json').read_text())['figures'][0]['value'] == 40.5


def test_plot_is_a_picture(tmp_path):
    found = record(tmp_path, random_linear=[1, 2], start_linear=[4, 5], continued_linear=[5, 6])
    plot(found, ('random', 'start', 'continued'), tmp_path / 'pilot.png')
    assert (tmp_path / 'pilot.png').read_bytes()[:4] == b'\x89PNG'
