"""SwAV's and DINO's small recipes on the bundled photos: the loss falls, nothing collapses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from densecl.sample import sample_root

ROOT = Path(__file__).parents[2]
VIEWS = 'train_dataloader.dataset.pipeline.0.views'


@pytest.mark.slow
@pytest.mark.parametrize(
    ('method', 'sizes'), [('swav', (32, 24)), ('dino', (32, 32, 24))], ids=('swav', 'dino')
)
def test_small_recipe_learns(tmp_path, method, sizes):
    config = ROOT / f'configs/{method}/{method}_resnet18_1xb64-mcrop-coslr-6e_photos.py'
    options = [f'{VIEWS}.{i}.size={size}' for i, size in enumerate(sizes)]
    options += [f'{VIEWS}.{len(sizes) - 1}.count=2', 'train_cfg.max_epochs=2']
    options += [f'default_hooks.{hook}.interval=1' for hook in ('logger', 'runtime_info')]
    options += ['default_hooks.collapse.interval=7', 'log_processor.window_size=1']
    options += [f'train_dataloader.dataset.data_root={sample_root() / "photos"}']
    command = [sys.executable, ROOT / 'tools/train.py', config, '--work-dir', tmp_path]
    done = subprocess.run(
        [*map(str, command), '--cfg-options', *options],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    losses = [step['loss'] for step in steps]
    assert len(losses) == 14
    assert sum(losses[-3:]) < sum(losses[:3])
    last = steps[-1]
    assert last['image_std'] > 0.5
    assert last['image_rank'] > 8
    assert last['image_usage_entropy'] > 0.7
    assert last['image_code_entropy' if method == 'swav' else 'image_teacher_entropy'] < 0.9
