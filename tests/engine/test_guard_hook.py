"""The guard measures a real run, leaves it as it was, goes on after a resume, and catches damage."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch

from densecl.compat import load_checkpoint
from densecl.engine import launch
from densecl.evaluation.features import load_encoder
from densecl.evaluation.guard import export_refusal
from densecl.finetune.start import read_start
from densecl.transfer import export_backbone
from tests.engine.test_resume import resumed

SIZE = (96, 96)


@pytest.fixture
def guarded(tiny_config):
    def make(guard=None, **options):
        cfg = tiny_config(**{'default_hooks.checkpoint.interval': 5, **options})
        cfg.model.backbone.nodes = ['features.8']  # stride 16: 6 x 6 cells
        for head in cfg.model.heads.values():
            head.projector.channels = (48, 64, 128)
        if guard is not None:
            cfg.custom_hooks = [
                dict(type='GuardHook', size=SIZE, every=0.3, count=8, **{'cost': None, **guard})
            ]
        return cfg

    return make


def table(folder):
    return json.loads((folder / 'guard.json').read_text())


def timeless(content):
    """Without what takes other seconds each time."""
    if isinstance(content, dict):
        return {k: timeless(v) for k, v in content.items() if k != 'seconds'}
    return [timeless(v) for v in content] if isinstance(content, list) else content


def test_a_run_is_measured_and_not_changed(guarded, tmp_path):
    bare = guarded()
    bare.work_dir = str(tmp_path / 'bare')
    launch.build_runner(bare).train()
    runner, said = launch.build_runner(guarded(guard={})), []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    runner.logger.addHandler(handler)
    runner.train()
    assert sum('from random ones its meters are not proven' in line for line in said) == 1
    run, found = tmp_path / 'run', table(tmp_path / 'run')
    finals = [load_checkpoint(folder / 'iter_10.pth')['state_dict'] for folder in (run, tmp_path / 'bare')]
    assert all(torch.equal(finals[0][name], value) for name, value in finals[1].items())

    assert [line['iter'] for line in found['measurements']] == [0, 3, 6, 9, 10]
    assert [line['alpha'] for line in found['averages']] == [0.75, 0.5, 0.25]
    assert found['size'] == list(SIZE)
    assert found['photos'] == 8
    first, *later = found['measurements']
    assert first['verdict'] == 'same' and first['signals']['cka']['value'] == pytest.approx(1)
    assert later[0]['signals']['cka']['value'] != first['signals']['cka']['value']
    assert set(first['signals']) == {'dse', 'correspondence', 'photometric', 'positional', 'cka', 'labels'}
    photos = sorted(path.name for path in (tmp_path / 'photos').iterdir())
    assert [Path(name).name for name in found['named']] == [photos[i] for i in (0, 1, 2, 3, 5, 6, 7, 8)]
    logged = load_checkpoint(run / 'iter_10.pth')['message_hub']['log_scalars']
    dse = [line['signals']['dse']['value'] for line in found['measurements'][:4]]
    assert logged['guard/dse']._log_history.tolist() == pytest.approx(dse)
    scalars = [
        json.loads(line) for line in next(run.glob('*/vis_data/scalars.json')).read_text().splitlines()
    ]
    assert [line['step'] for line in scalars if 'guard/dse' in line] == [0, 3, 6, 9, 10]

    # What it keeps reads as any checkpoint; the start is what the run began with.
    best, start = load_encoder(run / 'best_dense.pth'), load_encoder(run / 'start.pth')
    images = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    assert best.maps(images).shape == start.maps(images).shape == (1, 48, 2, 2)
    assert export_backbone(run / 'best_dense.pth')['meta']['mean'] is not None

    # A run resumed between two measurements ends with the same table.
    launch.build_runner(resumed(guarded(guard={}), run / 'iter_5.pth', tmp_path / 'resumed')).train()
    assert timeless(table(tmp_path / 'resumed')) == timeless(found)
    last = load_checkpoint(tmp_path / 'resumed' / 'iter_10.pth')
    assert all(torch.equal(last['state_dict'][name], value) for name, value in finals[0].items())
    assert timeless(json.loads(last['message_hub']['runtime_info']['guard'])) == timeless(
        json.loads(load_checkpoint(run / 'iter_10.pth')['message_hub']['runtime_info']['guard'])
    )

    # A resumed run needs the start, beside its checkpoint or in its own folder.
    (tmp_path / 'lost').mkdir()
    alone = shutil.copy(run / 'iter_5.pth', tmp_path / 'lost')
    with pytest.raises(FileNotFoundError, match=r'start\.pth, the backbone as it started'):
        launch.build_runner(resumed(guarded(guard={}), alone, tmp_path / 'lost')).train()


def test_damage_is_told_refused_and_undone(guarded, labelled_discs, tmp_path):
    """A learning rate that destroys the backbone: warned of, not chosen, not exported."""
    guard = dict(labelled=labelled_discs, photos=f'{labelled_discs}/images')
    cfg = guarded(guard=guard, **{'optim_wrapper.optimizer.lr': 30.0, 'train_cfg.max_epochs': 1})
    cfg.work_dir = str(tmp_path / 'run')
    runner = launch.build_runner(cfg)
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    runner.logger.addHandler(handler)
    runner.train()
    found = table(tmp_path / 'run')
    assert found['verdict'] == 'refuse', found['sentence']
    assert found['labelled_images'] == [8, 8]
    assert found['measurements'][-1]['interval'][2] < 0
    assert any('dense quality has fallen since the start; end: ' in line for line in said)
    assert found['chosen'] == 'start'
    assert found['told'].startswith('stay with your start')
    assert 'is worse than its start' in export_refusal(tmp_path / 'run/iter_5.pth', 5)
    best = load_checkpoint(tmp_path / 'run/best_dense.pth')['state_dict']
    start = load_checkpoint(tmp_path / 'run/start.pth')['state_dict']
    assert all(torch.equal(start[name], value) for name, value in best.items())


def test_a_share_is_needed():
    from densecl.engine.hooks import GuardHook

    with pytest.raises(ValueError, match='every must be a share'):
        GuardHook(every=2)
    with pytest.raises(ValueError, match='averages must be weights within'):
        GuardHook(averages=(0.5, 1))


def test_origin_and_licence_travel_with_what_it_keeps(guarded, tmp_path):
    """So that an export says them, and a fine-tuning knows that the weights are strong."""
    guard = dict(averages=())
    launch.build_runner(guarded(guard=guard)).train()
    weights = load_checkpoint(tmp_path / 'run/best_dense.pth')
    assert weights['meta']['start'] is None
    assert read_start(tmp_path / 'run/best_dense.pth', tmp_path).from_scratch
    weights['meta'] = dict(origin='a release', licence='MIT')
    torch.save(weights, tmp_path / 'release.pth')

    cfg = guarded(guard=guard)
    cfg.work_dir = str(tmp_path / 'continued')
    cfg.custom_hooks.append(dict(type='PretrainedHook', checkpoint=str(tmp_path / 'release.pth')))
    launch.build_runner(cfg).train()
    for name in ('start.pth', 'best_dense.pth', 'iter_10.pth'):
        meta = export_backbone(tmp_path / 'continued' / name)['meta']
        assert (meta['origin'], meta['licence']) == ('a release', 'MIT'), name
        assert not read_start(tmp_path / 'continued' / name, tmp_path).from_scratch, name


@pytest.mark.parametrize(('cost', 'measured'), [(0.0, [0, 10]), (1e6, [0, 3, 6, 9, 10])])
def test_measurements_on_the_way_stay_within_their_share_of_the_time(guarded, tmp_path, cost, measured):
    launch.build_runner(guarded(guard=dict(cost=cost))).train()
    found = table(tmp_path / 'run')
    assert [line['iter'] for line in found['measurements']] == measured
    assert len(found['averages']) == (3 if cost else 1)
    assert found['chosen'] in {line['name'] for line in found['measurements'] + found['averages']}
