"""The guard warns and refuses by its rules, chooses by its rules, and an export obeys."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from densecl.cli import main
from densecl.evaluation.correspondence import correspondence, second_images
from densecl.evaluation.features import FrozenEncoder
from densecl.evaluation.guard import (
    DECIDING,
    Measurement,
    affordable,
    choose,
    decide,
    export_refusal,
    fallen_signals,
    fallen_since,
    has_barrier,
    paired_gain,
    row,
)
from densecl.evaluation.segmentation import confusion, iou_counts, mean_iou
from densecl.evaluation.signals import Signal, Signals, interpolated

ROOT = Path(__file__).parents[2]


def signals(dse=0.5, correspondence=0.4, cka=1.0, labels=0.8, spread=0.05):
    values = dict(dse=dse, correspondence=correspondence, cka=cka, labels=labels)
    return {name: Signal(value, 0.0 if name == 'cka' else spread) for name, value in values.items()}


def counted(right, images=40, classes=4, seed=0):
    """Counts of label maps of which about a share ``right`` of the pixels is right."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(classes, (images, 8, 8), generator=generator)
    other = torch.randint(classes, (images, 8, 8), generator=generator)
    keep = torch.rand(images, 8, 8, generator=generator) < right
    return confusion(torch.where(keep, truth, other), truth, classes)


def measured(right, seed=0):
    counts = {name: iou_counts(counted(right, seed=seed)) for name in ('linear', 'retrieval')}
    return Measurement(signals(), counts)


class TestLabelFree:
    @pytest.mark.parametrize(
        ('now', 'fallen', 'verdict'),
        [
            (dict(dse=0.46, correspondence=0.36, labels=0.76), (), 'same'),  # within the spread
            (dict(dse=0.4), ('dse',), 'same'),
            (dict(dse=0.9, correspondence=0.2, cka=0.85), ('correspondence',), 'same'),
            # Far from the start, as every long run is: that alone says nothing.
            (dict(dse=0.1, cka=0.5, labels=0.3), ('dse', 'cka', 'labels'), 'same'),
            (dict(cka=0.79, correspondence=0.3), ('correspondence', 'cka'), 'refuse'),
            # A network that diverged.
            (dict.fromkeys(('dse', 'correspondence', 'cka', 'labels'), math.nan), DECIDING, 'refuse'),
        ],
    )
    def test_correspondence_decides_if_another_signal_agrees(self, now, fallen, verdict):
        start, now = Measurement(signals()), Measurement(signals(**now))
        assert fallen_signals(start.signals, now.signals) == fallen
        decision = decide(start, now)
        assert (decision.verdict, decision.fallen) == (verdict, fallen)
        assert decision.sentence.count(', fallen)') == len(fallen)
        others_fell = bool(fallen) and DECIDING[0] not in fallen
        assert decision.sentence.endswith('decides, and has not fallen') == others_fell

    def test_two_sets_that_agree_by_chance_do_not_make_it_strict(self):
        start = Measurement(signals(spread=0.0))
        fell = Measurement(signals(correspondence=0.395, cka=0.7, spread=0.0))
        assert decide(start, fell).verdict == 'same'
        fell = Measurement(signals(correspondence=0.385, cka=0.7, spread=0.0))
        assert decide(start, fell).verdict == 'refuse'


class TestWithLabels:
    def test_the_gain_agrees_with_a_loop_over_draws(self):
        start, now = counted(0.6), counted(0.65, seed=1)
        names = dict(linear=iou_counts(start)), dict(linear=iou_counts(now))
        gain, low, high = paired_gain(*names, draws=50, seed=3)

        def score(counts, rows):
            return mean_iou(counts[rows].sum(0)).mean

        everything = torch.arange(40)
        assert gain == pytest.approx(score(now, everything) - score(start, everything))
        drawn = torch.randint(40, (50, 40), generator=torch.Generator().manual_seed(3))
        gains = [score(now, rows) - score(start, rows) for rows in drawn]
        np.testing.assert_allclose((low, high), np.percentile(gains, (2.5, 97.5)), rtol=1e-9)

    @pytest.mark.parametrize(
        ('right', 'seed', 'verdict'),
        [(0.5, 0, 'refuse'), (0.6, 1, 'warn'), (0.6, 0, 'same'), (0.6, 2, 'same'), (0.7, 0, 'better')],
    )
    def test_labels_decide_over_signals(self, right, seed, verdict):
        start, now = measured(0.6), measured(right, seed)
        broken = Measurement(signals(dse=0, labels=0), now.counts)
        assert decide(start, now).verdict == decide(start, broken).verdict == verdict
        assert decide(start, broken).fallen == ('dse', 'labels')
        assert f'linear {now.scores()["linear"]:.1f} (start {start.scores()["linear"]:.1f})' in (
            decide(start, now).sentence
        )

    def test_a_measurement_survives_json(self):
        found = measured(0.6)
        again = Measurement.restore(json.loads(json.dumps(found.state())))
        assert again.signals == found.signals
        assert all(torch.equal(again.counts[n], c) for n, c in found.counts.items())
        bare = Measurement(signals())
        assert Measurement.restore(json.loads(json.dumps(bare.state()))) == bare


def table(*entries):
    """Lines of a table: (name, right or None, damaged, more)."""
    start = measured(0.6) if entries[0][0] is not None else Measurement(signals())
    rows = [row('start', start, decide(start, start), iter=0, alpha=0.0)]
    for right, damaged, more in entries:
        counts = None if right is None else measured(right).counts
        now = Measurement(signals(correspondence=0.1, labels=0) if damaged else signals(), counts)
        name = f'{more.get("alpha", "")} at {more["iter"]}'
        rows.append(row(name, now, decide(start, now), **more))
    return rows


def course(*values, spread=0.02):
    """Lines of a run without labels whose correspondence took these values, the start's first."""
    found = [Measurement(signals(correspondence=value, spread=spread)) for value in values]
    return [row(f'at {i}', now, decide(found[0], now), iter=i) for i, now in enumerate(found)]


class TestFallenSince:
    def test_quality_that_rose_and_fell_is_told_and_the_peak_kept(self):
        rows = course(0.1, 0.4, 0.5, 0.47)
        assert [fallen_since(rows, r) for r in rows] == [None, None, None, rows[2]]
        assert rows[3]['verdict'] == 'same' and choose(rows) is rows[2]

    def test_a_dip_within_the_spread_is_none(self):
        rows = course(0.1, 0.5, 0.485)
        assert fallen_since(rows, rows[2]) is None and choose(rows) is rows[2]

    def test_a_network_that_diverged_has_fallen(self):
        rows = course(0.1, 0.5, math.nan)
        assert fallen_since(rows, rows[2]) is rows[1] and choose(rows) is rows[1]

    def test_with_labels_the_interval_is_the_margin(self):
        rows = table((0.75, False, dict(iter=5)), (0.74, False, dict(iter=6)), (0.65, False, dict(iter=7)))
        assert [fallen_since(rows, r) for r in rows] == [None, None, None, rows[1]]

    def test_averages_with_the_start_are_no_peak(self):
        rows = course(0.1, 0.5, 0.4)
        rows[1]['alpha'] = 0.5
        assert fallen_since(rows, rows[2]) is None


class TestChoose:
    def test_with_labels_the_highest_score(self):
        rows = table((0.65, True, dict(iter=5)), (0.5, False, dict(iter=10, alpha=1.0)))
        assert choose(rows) is rows[1]
        assert choose(rows[::2]) is rows[0]  # nothing is better: stay with the start

    def test_without_labels_the_average_nearest_to_the_end_that_is_not_damaged(self):
        before, end, quarter, half = (dict(iter=5), *(dict(iter=10, alpha=a) for a in (1.0, 0.25, 0.5)))
        rows = table((None, False, before), (None, False, end), (None, False, half), (None, False, quarter))
        assert choose(rows) is rows[3]
        rows = table((None, False, before), (None, False, end), (None, True, half), (None, False, quarter))
        assert choose(rows) is rows[4]
        # Of an end that has fallen no average is taken.
        rows = table((None, False, before), (None, True, end), (None, False, half))
        assert choose(rows) is rows[1]
        rows = table((None, True, end), (None, False, half))
        assert choose(rows) is rows[0]

    def test_an_average_may_lie_below_what_was_measured_on_the_way(self):
        rows = course(0.5, 0.59, 0.6, 0.575)
        rows[2] |= dict(iter=10, alpha=1.0)
        rows[3] |= dict(iter=10, alpha=0.75)
        assert choose(rows) is rows[3]  # the line is at 0.575

    def test_without_labels_and_averages_the_most_trained_that_is_not_damaged(self):
        end = dict(iter=10, alpha=1.0)
        rows = table((None, False, dict(iter=5)), (None, False, end))
        assert choose(rows) is rows[2]
        rows = table((None, False, dict(iter=5)), (None, True, end))
        assert choose(rows) is rows[1]
        rows = table((None, True, dict(iter=5)), (None, True, end))
        assert choose(rows) is rows[0]

    def test_an_average_behind_a_barrier_is_not_taken(self):
        """Of a random start and its end, for example."""
        rows = course(0.05, 0.45, 0.36)
        rows[1] |= dict(iter=10, alpha=1.0)
        rows[2] |= dict(iter=10, alpha=0.75)
        assert not has_barrier(rows, rows[2]) and choose(rows) is rows[2]  # the line is at 0.35
        rows[2]['signals']['correspondence']['value'] = 0.3
        assert has_barrier(rows, rows[2]) and choose(rows) is rows[1]
        rows[2]['signals']['correspondence']['value'] = math.nan
        assert has_barrier(rows, rows[2])


class TestExport:
    @pytest.fixture
    def run(self, tmp_path):
        rows = table((None, False, dict(iter=50)), (None, True, dict(iter=100, alpha=1.0)))
        (tmp_path / 'guard.json').write_text(json.dumps(dict(measurements=rows)))
        return tmp_path

    def test_the_nearest_measurement_counts(self, run):
        assert export_refusal(run / 'iter_40.pth', 40) is None
        said = export_refusal(run / 'iter_100.pth', 100)
        assert 'is worse than its start, measured at iteration 100: correspondence 0.100' in said
        assert 'stay with the start' in said
        (run / 'best_dense.pth').touch()
        assert f'export {run / "best_dense.pth"} instead' in export_refusal(run / 'a.pth', 100)

    def test_files_that_the_guard_has_not_judged(self, run, tmp_path):
        assert export_refusal(run / 'best_dense.pth', 100) is None
        assert export_refusal(run / 'start.pth', None) is None
        assert export_refusal(tmp_path / 'elsewhere' / 'a.pth', 100) is None

    def test_the_command_refuses_until_it_is_forced(self, run, capsys):
        from densecl.registry import MODELS

        backbone = MODELS.build(dict(type='mmdet.ResNet', depth=18))
        state = {f'backbone.{k}': v for k, v in backbone.state_dict().items()}
        torch.save(dict(state_dict=state, meta=dict(iter=100)), run / 'iter_100.pth')
        command = ['export', str(run / 'iter_100.pth'), '--out', str(run / 'out.pth')]
        with pytest.raises(SystemExit, match='2'):
            main(command)
        said = capsys.readouterr().err
        assert said.startswith('densecl export:') and 'is worse than its start' in said
        assert not (run / 'out.pth').exists()
        with pytest.raises(SystemExit, match='0'):
            main([*command, '--force'])
        assert (run / 'out.pth').is_file()
        assert 'is worse than its start' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('training', 'each', 'more'), [(1000, 2.0, 11), (100, 2.0, 0), (100, 0.5, 3), (10, 2.0, 0)]
)
def test_measurements_stay_within_their_share_of_the_run(training, each, more):
    """Start, end and one average are always measured; nine on the way and two averages where they fit."""
    measured, count = each, 0
    for _ in range(9):
        if affordable(0.03, each, measured, 3, training):
            measured, count = measured + each, count + 1
    measured += 2 * each
    for _ in range(2):
        if affordable(0.03, each, measured, 1, training):
            measured, count = measured + each, count + 1
    assert count == more
    assert measured <= max(0.03 * training, 3 * each)


class TestSignals:
    def test_damage_is_seen_and_a_rotation_is_not(self):
        conv = torch.nn.Conv2d(3, 16, 8, stride=8)
        encoder = FrozenEncoder(conv)
        images = torch.nn.functional.interpolate(torch.rand(20, 3, 6, 6), (48, 64), mode='bicubic')
        images = (255 * images.clamp(0, 1)).to(torch.uint8).permute(0, 2, 3, 1)
        meters = Signals(images)
        meters.set_reference(encoder)
        start = meters.measure(encoder)
        assert start['cka'] == Signal(pytest.approx(1), pytest.approx(0), start['cka'].seconds)
        assert start['labels'].value > 0.5
        assert fallen_signals(start, meters.measure(encoder)) == ()
        # Of each half the first eight, twice as large and mirrored: how many take the cell of the same index.
        shares = []
        for half in (images[0:16:2], images[1:17:2]):
            for change in ('scale', 'flip'):
                changed, affine = second_images(half, change)
                shares.append(correspondence(encoder.maps(half), encoder.maps(changed), affine).same_index)
        assert start['positional'].value == pytest.approx(sum(shares) / 4)
        assert start['positional'].spread == pytest.approx(abs(sum(shares[:2]) - sum(shares[2:])) / 2)
        turned, ruined = torch.nn.Conv2d(3, 16, 8, stride=8), torch.nn.Conv2d(3, 16, 8, stride=8)
        turn = torch.linalg.qr(torch.randn(16, 16))[0]
        turned.weight.data = torch.einsum('oc,cikl->oikl', turn, conv.weight.data)  # o, c: channels
        turned.bias.data = turn @ conv.bias.data
        assert 'cka' not in fallen_signals(start, meters.measure(FrozenEncoder(turned)))
        ruined.weight.data.zero_()
        assert {'correspondence', 'cka', 'labels'} <= set(
            fallen_signals(start, meters.measure(FrozenEncoder(ruined)))
        )

    def test_too_small_a_grid_is_named(self):
        encoder = FrozenEncoder(torch.nn.Conv2d(3, 4, 16, stride=16))
        with pytest.raises(ValueError, match='32 x 64 give 2 x 4 cells'):
            Signals(torch.zeros(8, 32, 64, 3, dtype=torch.uint8)).set_reference(encoder)
        with pytest.raises(ValueError, match='at least 8 photos'):
            Signals(torch.zeros(7, 32, 64, 3, dtype=torch.uint8))


def test_averages_keep_what_is_equal():
    start = dict(a=torch.randn(5), held=torch.rand(5), count=torch.tensor(3))
    end = dict(a=torch.randn(5), held=start['held'].clone(), count=torch.tensor(9))
    mixed = interpolated(start, end, 0.3)
    torch.testing.assert_close(mixed['a'], 0.7 * start['a'] + 0.3 * end['a'])
    assert torch.equal(mixed['held'], start['held'])
    assert mixed['count'] == 9
