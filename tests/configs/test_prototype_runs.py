"""SwAV's and DINO's small recipes on the bundled photos: the loss falls, nothing collapses."""

import json
from pathlib import Path

import pytest

from densecl.sample import sample_root
from densecl.tools import run_tool

ROOT = Path(__file__).parents[2]
VIEWS = 'train_dataloader.dataset.pipeline.0.views'


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Every other photo of the sample: seven batches of 32."""
    folder = tmp_path_factory.mktemp('photos')
    for path in sorted((sample_root() / 'photos').rglob('*.jpg'))[::2]:
        (folder / f'{path.parent.name}_{path.name}').symlink_to(path)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ('method', 'sizes'), [('swav', (32, 24)), ('dino', (32, 32, 24))], ids=('swav', 'dino')
)
def test_small_recipe_learns(tmp_path, photos, method, sizes):
    config = ROOT / f'configs/{method}/{method}_resnet18_1xb64-mcrop-coslr-6e_photos.py'
    options = [f'{VIEWS}.{i}.size={size}' for i, size in enumerate(sizes)]
    options += [f'{VIEWS}.{len(sizes) - 1}.count=2', 'train_cfg.max_epochs=2']
    options += [f'default_hooks.{hook}.interval=1' for hook in ('logger', 'runtime_info')]
    options += ['default_hooks.collapse.interval=7', 'log_processor.window_size=1']
    options += ['train_dataloader.batch_size=32', 'train_dataloader.num_workers=0']
    options += ['train_dataloader.persistent_workers=False', 'default_hooks.checkpoint=None']
    options += [f'train_dataloader.dataset.data_root={photos}']
    run_tool('train', [str(config), '--work-dir', str(tmp_path), '--cfg-options', *options])
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
