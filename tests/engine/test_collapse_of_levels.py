"""A head on several levels is watched level by level: a dead one is reported by its name."""

import pytest
import torch

from densecl.compat import load_checkpoint
from densecl.engine import launch

LEVELS = ('c2', 'c5')


def config(tiny_config, **collapse):
    """Two levels of a small backbone, global terms alone, and every image a batch of its own kind."""
    cfg = tiny_config()
    cfg.model.backbone.nodes = ['features.3', 'features.12']
    cfg.model.heads = dict(
        multi=dict(
            units=dict(type='Patches', levels=dict(c2=0, c5=1)),
            projector=dict(
                type='LevelProjectors', names=LEVELS, channels=(24, 576), norm=True, last_norm=True
            ),
            objective=dict(type='InfoNCE', queue=7, dim=128),
            pairs=[
                dict(query=(f'global_{c}', 0), key=(f'global_{c}', 1), weight=weight, name=f'g2g_{c}')
                for c, weight in zip(LEVELS, (0.5, 1.0), strict=True)
            ],
        )
    )
    cfg.default_hooks.collapse.update(interval=1, **collapse)
    cfg.default_hooks.checkpoint.interval = 10
    return cfg


def test_every_level_is_logged_with_its_own_queue(tiny_config, tmp_path):
    launch.build_runner(config(tiny_config, patience=100)).train()
    logs = load_checkpoint(tmp_path / 'run/iter_10.pth')['message_hub']['log_scalars']
    for level in LEVELS:
        for what in ('', 'pos_sim_', 'top1_'):
            assert len(logs[f'train/multi_{what}g2g_{level}']._log_history) == 10
        for what in ('std', 'rank', 'neg_sim', 'queue_age'):
            assert f'train/multi_global_{level}_{what}' in logs
        # 7 keys, two a step: the oldest was made 3.5 steps ago
        assert logs[f'train/multi_global_{level}_queue_age'].current() in (3, 4)
    ranks = [logs[f'train/multi_global_{level}_rank'].current() for level in LEVELS]
    assert ranks[0] != ranks[1]


def test_a_dead_level_is_named(tiny_config):
    runner = launch.build_runner(config(tiny_config, patience=2, action='stop'))
    last = runner.model.heads['multi'].projector['global']['c2'][-1]
    runner.call_hook('before_run')
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(1.0)
    last.requires_grad_(False)
    runner.model.init_weights = lambda: None  # keep what was just set
    with pytest.raises(RuntimeError, match='head multi_global_c2 is collapsing'):
        runner.train()
