"""Boxes, RPN and box head after a resume are those of the uninterrupted run."""

import torch
from mmengine.config import Config

from densecl.compat import load_checkpoint
from densecl.engine import launch
from tests.transfer.test_transfer_box_head import CONFIGS


def test_resumed_run_goes_on_as_if_uninterrupted(tiny_config, tmp_path):
    cfg = tiny_config()
    small = Config.fromfile(CONFIGS / 'aligndet/aligndet_resnet18_fpn_1xb8-coslr-3e_photos.py')
    cfg.model = small.model
    cfg.train_dataloader.dataset.proposals = dict(type='Felzenszwalb')
    pipeline = small.train_dataloader.dataset.pipeline
    pipeline[0].views[0].size = 64
    cfg.train_dataloader.dataset.pipeline = pipeline
    cfg.default_hooks.checkpoint.interval = 5
    launch.build_runner(cfg).train()
    run = tmp_path / 'run'
    again = cfg.copy()
    again.work_dir = str(tmp_path / 'resumed')
    again.resume, again.load_from = True, str(run / 'iter_5.pth')
    launch.build_runner(again).train()
    first, second = (load_checkpoint(p / 'iter_10.pth') for p in (run, tmp_path / 'resumed'))
    for name, value in first['state_dict'].items():
        assert torch.equal(second['state_dict'][name], value), name
    start = load_checkpoint(run / 'iter_5.pth')['state_dict']
    moved = {n.split('.')[0] for n, x in start.items() if not torch.equal(x, first['state_dict'][n])}
    assert moved == {'neck', 'heads', 'target', 'step'}  # not the backbone, nor the target's
    assert not any(
        n.startswith('target.backbone') and not torch.equal(x, first['state_dict'][n])
        for n, x in start.items()
    )
