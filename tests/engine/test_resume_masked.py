"""A resumed run hides or replaces the same patches and goes on bit for bit: masks of samples, of a batch."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from densecl.compat import load_checkpoint
from densecl.engine import launch
from densecl.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'

VIT = dict(embed_dim=32, depth=2, num_heads=2)
MAE = {
    'model.backbone': VIT,
    'model.heads.pixels.projector': dict(in_channels=32, embed_dim=16, depth=1, num_heads=2),
}
SELF_DISTILLED = {
    'model.backbone': dict(VIT, drop_path=0.3, drop_path_law='subset'),
    'model.heads.tokens.projector.channels': (32, 24, 24, 16),
}
SIT = {
    'model.backbone': VIT,
    'model.heads.image.projector.channels': (32, 24, 24, 16),
    'model.heads.pixels.projector.in_channels': 32,
}
VQKD = {
    'model.backbone': VIT,
    'model.heads.features.projector': dict(
        quantizer=dict(channels=32, codes=40),
        decoder=dict(VIT, depth=1),
        output=dict(channels=(32, 32, 112)),
    ),
}
BEIT2 = {
    'model.backbone': dict(VIT, class_path=(1, 1)),
    'model.heads.codes.projector.channels': (32, 40),
    'model.heads.codes.target': dict(backbone=VIT, channels=32, codes=40),
}
RECIPES = {
    'VQ-KD': ('beit/vqkd_vit-tiny_1xb64-coslr-16e_photos.py', VQKD),
    'BEiT v2': ('beit/beitv2_vit-tiny_1xb64-coslr-16e_photos.py', BEIT2),
    'MAE': ('mae/mae_vit-slim_1xb64-coslr-16e_photos.py', MAE),
    'DINOv2': ('dinov2/dinov2_vit-slim_1xb64-mcrop-coslr-8e_photos.py', SELF_DISTILLED),
    'SiT': ('sit/sit_vit-slim_1xb64-coslr-16e_photos.py', SIT),
    'DINOv3': (  # rotary positions are stretched at random
        'dinov3/dinov3_vit-slim_1xb64-mcrop-constlr-8e_photos.py',
        {
            'model.backbone': dict(VIT, drop_path=0.3),
            'model.heads.image.projector.channels': (32, 24, 24, 16),
            'model.heads.patches.projector.channels': (32, 24, 24, 16),
        },
    ),
    'CAPI': (
        'capi/capi_vit-slim_1xb64-coslr-16e_photos.py',
        {
            'model.backbone': dict(VIT, drop_path=0.3),
            'model.heads.clusters.projector': dict(in_channels=32, embed_dim=16, depth=1, num_heads=2),
            'model.heads.clusters.objective.dim': 32,
        },
    ),
}


def tiny_masked(method: str, tiny: Config, folder: Path, workers: int = 0) -> Config:
    """A recipe as small as ``tiny``; a target that is read from a file is written into ``folder``."""
    file, changes = RECIPES[method]
    cfg = Config.fromfile(CONFIGS / file)
    own = ('work_dir', 'launcher', 'log_level', 'train_cfg')
    cfg.merge_from_dict({name: tiny[name] for name in own} | changes)
    cfg.train_dataloader.update(batch_size=4, num_workers=workers, persistent_workers=False)
    cfg.train_dataloader.dataset.data_root = tiny.train_dataloader.dataset.data_root
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=3, max_keep_ckpts=-1)
    for head in cfg.model.heads.values():
        if 'file' in (head.get('target') or {}):
            head.target.file = str(folder / 'target.pth')
            torch.save(dict(state_dict=MODELS.build(head.target).state_dict()), head.target.file)
    return cfg


@pytest.mark.parametrize('method', RECIPES)
@pytest.mark.parametrize('workers', [0, 1])
def test_resumed_run_equals_the_uninterrupted_one(method, workers, tiny_config, tmp_path):
    cfg = tiny_masked(method, tiny_config(), tmp_path, workers)
    launch.build_runner(cfg).train()
    again = cfg.copy()
    again.work_dir = str(tmp_path / 'resumed')
    again.resume, again.load_from = True, str(tmp_path / 'run/iter_3.pth')
    launch.build_runner(again).train()
    first, second = (load_checkpoint(p / 'iter_4.pth') for p in (tmp_path / 'run', tmp_path / 'resumed'))
    assert first['state_dict'].keys() == second['state_dict'].keys()
    for name, value in first['state_dict'].items():
        assert torch.equal(second['state_dict'][name], value), name
    logs = [c['message_hub']['log_scalars']['train/loss']._log_history for c in (first, second)]
    assert logs[0].tolist() == logs[1].tolist() and len(logs[0]) == 4
