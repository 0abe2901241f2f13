"""Random regions after a resume are those of the uninterrupted run."""

import torch

from densecl.compat import load_checkpoint
from densecl.engine import launch


def test_resumed_run_draws_the_same_regions(tiny_config, tmp_path):
    mlp = dict(type='MLP', channels=(576, 64, 32), norm=True)
    head = dict(
        units=dict(type='Boxes', regions='overlap', bins=1),
        projector=mlp,
        predictor=dict(mlp, channels=(32, 64, 32)),
        objective=dict(type='Cosine', squared=True, mean='counted'),
        pairs=((0, 1), (1, 0)),
    )
    boxes = dict(type='OverlapBoxes', count=3, min_size=16)
    cfg = tiny_config(**{'model.heads': dict(regions=head, _delete_=True)})
    cfg.train_dataloader.dataset.pipeline[0].regions = dict(overlap=boxes)
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
    logs = [c['message_hub']['log_scalars']['train/loss']._log_history for c in (first, second)]
    assert logs[0].tolist() == logs[1].tolist()
