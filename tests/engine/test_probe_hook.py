"""Probes during a run: their figures are those of the checkpoints, and the run stays as it is."""

import json

import pytest
import torch

from densecl.compat import load_checkpoint
from densecl.engine import launch
from densecl.engine.hooks import ProbeHook
from densecl.evaluation.features import load_encoder
from densecl.evaluation.labelled import open_labelled
from densecl.evaluation.probes import probe


def test_figures_are_those_of_the_checkpoints_and_the_run_stays(tiny_config, labelled_discs, tmp_path):
    probes = dict(probes=('linear', 'clusters'), clusters=(3,))
    hook = dict(type='ProbeHook', labelled=labelled_discs, interval=2, **probes)
    options = {'train_cfg.max_epochs': 3, 'default_hooks.checkpoint.interval': 5}
    for name, hooks in (('bare', []), ('run', [hook])):
        cfg = tiny_config(**options, work_dir=str(tmp_path / name))
        cfg.custom_hooks = hooks
        launch.build_runner(cfg).train()
    run, bare = (load_checkpoint(tmp_path / name / 'iter_15.pth')['state_dict'] for name in ('run', 'bare'))
    assert all(torch.equal(run[name], value) for name, value in bare.items())

    lines = next((tmp_path / 'run').glob('*/vis_data/scalars.json')).read_text().splitlines()
    logged = [line for line in map(json.loads, lines) if 'probe/linear_miou' in line]
    assert [line['step'] for line in logged] == [0, 10, 15]
    images = open_labelled(labelled_discs)
    for line in logged[1:]:
        encoder = load_encoder(tmp_path / f'run/iter_{line["step"]}.pth')
        found = probe(encoder, images, (96, 96), **probes).figures()
        assert found.keys() == {'linear_miou', 'clusters_3_miou'}
        for name, value in found.items():
            assert line[f'probe/{name}'] == pytest.approx(value, abs=1e-3), name


def test_wrong_settings_are_named_before_training(tiny_config, labelled_discs):
    with pytest.raises(ValueError, match='interval must be 1 epoch or more, got 0'):
        ProbeHook('set', interval=0)
    cfg = tiny_config()
    cfg.custom_hooks = [dict(type='ProbeHook', labelled=labelled_discs, probes=['boxes'])]
    with pytest.raises(ValueError, match='"boxes" needs boxes; give a COCO json'):
        launch.build_runner(cfg).train()
