"""Resumed runs of many methods go on bit for bit: what views draw, hide, carry or learn; all players."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from densecl.compat import load_checkpoint
from densecl.datasets.text import train_tokenizer
from densecl.engine import launch
from densecl.registry import MODELS
from tests.engine.test_resume import resumed, same_checkpoint

CONFIGS = Path(__file__).parents[2] / 'configs'

VIT = dict(embed_dim=32, depth=2, num_heads=2)
MAE = {
    'backbone': VIT,
    'heads.pixels.projector': dict(in_channels=32, embed_dim=16, depth=1, num_heads=2),
}
SELF_DISTILLED = {
    'backbone': dict(VIT, drop_path=0.3, drop_path_law='subset'),
    'heads.tokens.projector.channels': (32, 24, 24, 16),
}
SIT = {
    'backbone': VIT,
    'heads.image.projector.channels': (32, 24, 24, 16),
    'heads.pixels.projector.in_channels': 32,
}
VQKD = {
    'backbone': VIT,
    'heads.features.projector': dict(
        quantizer=dict(channels=32, codes=40),
        decoder=dict(VIT, depth=1),
        output=dict(channels=(32, 32, 112)),
    ),
}
BEIT2 = {
    'backbone': dict(VIT, class_path=(1, 1)),
    'heads.codes.projector.channels': (32, 40),
    'heads.codes.target': dict(backbone=VIT, channels=32, codes=40),
}
MASKED = {
    'VQ-KD': ('beit/vqkd_vit-tiny_1xb64-coslr-16e_photos.py', VQKD),
    'BEiT v2': ('beit/beitv2_vit-tiny_1xb64-coslr-16e_photos.py', BEIT2),
    'MAE': ('mae/mae_vit-slim_1xb64-coslr-16e_photos.py', MAE),
    'DINOv2': ('dinov2/dinov2_vit-slim_1xb64-mcrop-coslr-8e_photos.py', SELF_DISTILLED),
    'SiT': ('sit/sit_vit-slim_1xb64-coslr-16e_photos.py', SIT),
    'DINOv3': (  # rotary positions are stretched at random
        'dinov3/dinov3_vit-slim_1xb64-mcrop-constlr-8e_photos.py',
        {
            'backbone': dict(VIT, drop_path=0.3),
            'heads.image.projector.channels': (32, 24, 24, 16),
            'heads.patches.projector.channels': (32, 24, 24, 16),
        },
    ),
    'CAPI': (
        'capi/capi_vit-slim_1xb64-coslr-16e_photos.py',
        {
            'backbone': dict(VIT, drop_path=0.3),
            'heads.clusters.projector': dict(in_channels=32, embed_dim=16, depth=1, num_heads=2),
            'heads.clusters.objective.dim': 32,
        },
    ),
}
#: Their backbone is five small convolutions.
CONVOLVED = {
    'rotation': (
        'rotation/rotation_resnet18_1xb32-coslr-6e_photos.py',
        {'heads.rotation.projector.channels': (32, 4)},
    ),
    'jigsaw': (
        'jigsaw/jigsaw_resnet18_1xb16-coslr-8e_photos.py',
        {
            'heads.jigsaw.projector.each.channels': (32, 8),
            'heads.jigsaw.projector.together.channels': (72, 16, 16),
        },
    ),
    'context prediction': (
        'context/context_resnet18_1xb32-coslr-6e_photos.py',
        {'heads.context.projector.together.channels': (64, 16, 8)},
    ),
    'Exemplar': (
        'exemplar/exemplar_resnet18_1xb64-coslr-6e_photos.py',
        {'heads.exemplar.projector.channels': (32, 10), 'heads.exemplar.target.classes': 10},
    ),
    'colorization': (
        'colorization/colorization_resnet18_1xb64-coslr-16e_photos.py',
        {'heads.colors.projector.in_channels': 32},
    ),
    'context encoder': (
        'context_encoder/context-encoder-centre_resnet18_1xb64-coslr-16e_photos.py',
        {
            'heads.pixels.projector': dict(in_channels=32, bottleneck=16, channels=(16, 16, 8, 8)),
            'heads.pixels.objective.objectives.1.discriminator.channels': (3, 4, 8, 8, 16),
        },
    ),
    'ViewMaker': (
        'viewmaker/viewmaker_resnet18_1xb64-coslr-6e_photos.py',
        {'heads.image.projector.channels': (32, 16, 16), 'view_maker.blocks': 1},
    ),
    'CLIP': (
        'clip/clip_resnet18_1xb64-coslr-16e_captions.py',
        {
            'heads.text.projector.channels': (32, 16),
            'heads.text.target.tower': dict(width=16, depth=1, heads=2, projection=16, dropout=0.1),
        },
    ),
}
RECIPES = MASKED | CONVOLVED


def small(method: str, tiny: Config, folder: Path) -> Config:
    """A recipe of two epochs of two steps of four photos; what it reads from a file is in ``folder``."""
    file, changes = RECIPES[method]
    cfg = Config.fromfile(CONFIGS / file)
    own = ('work_dir', 'launcher', 'log_level', 'train_cfg')
    cfg.merge_from_dict({n: tiny[n] for n in own} | {f'model.{name}': x for name, x in changes.items()})
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=3, max_keep_ckpts=-1)
    dataset = cfg.train_dataloader.dataset
    dataset.data_root = tiny.train_dataloader.dataset.data_root
    if method in CONVOLVED:
        cfg.model.backbone = dict(type='StridedConvs', channels=(3, 8, 8, 16, 32))
        for view in dataset.pipeline[0].views:
            if 'size' in view and method != 'context encoder':  # whose decoder is of one size
                view.size = 48
    if 'captions' in dataset:
        dataset.source = dict(type='Folder', captions='txt')
        photos = sorted(Path(dataset.data_root).glob('*.jpg'))
        for number, photo in enumerate(photos):
            photo.with_suffix('.txt').write_text(f'photo {number}\nnumber {number}\n')
        dataset.captions.tokenizer.path = str(folder / 'tokenizer.json')
        train_tokenizer([f'photo number {n}' for n in range(len(photos))], 280, folder / 'tokenizer.json')
    for head in cfg.model.heads.values():
        if 'file' in (head.get('target') or {}):
            head.target.file = str(folder / 'target.pth')
            torch.save(dict(state_dict=MODELS.build(head.target).state_dict()), head.target.file)
    return cfg


def goes_on(cfg: Config, folder: Path) -> None:
    """A run resumed from the first checkpoint ends as it did; its views are made by a worker."""
    whole = launch.build_runner(cfg)
    whole.train()
    again = resumed(cfg, folder / f'run/iter_{cfg.default_hooks.checkpoint.interval}.pth', folder / 'resumed')
    again.train_dataloader.num_workers = 1
    launch.build_runner(again).train()
    same_checkpoint(*(folder / run / f'iter_{whole.iter}.pth' for run in ('run', 'resumed')))


@pytest.mark.parametrize('method', RECIPES)
def test_of_a_recipe(method, tiny_config, tmp_path):
    goes_on(small(method, tiny_config(), tmp_path), tmp_path)


def test_of_random_regions(tiny_config, tmp_path):
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
    goes_on(cfg, tmp_path)


def test_of_detections(tiny_config, tmp_path):
    """Boxes, RPN and box head are trained, and no backbone."""
    cfg = tiny_config()
    recipe = Config.fromfile(CONFIGS / 'aligndet/aligndet_resnet18_fpn_1xb8-coslr-3e_photos.py')
    cfg.model = recipe.model
    cfg.train_dataloader.dataset.proposals = dict(type='Felzenszwalb')
    pipeline = recipe.train_dataloader.dataset.pipeline
    pipeline[0].views[0].size = 64
    cfg.train_dataloader.dataset.pipeline = pipeline
    cfg.default_hooks.checkpoint.interval = 5
    goes_on(cfg, tmp_path)
    start, end = (load_checkpoint(tmp_path / f'run/iter_{n}.pth')['state_dict'] for n in (5, 10))
    moved = [name for name, value in start.items() if not torch.equal(value, end[name])]
    assert {name.split('.')[0] for name in moved} == {'neck', 'heads', 'target', 'step'}
    assert not any(name.startswith('target.backbone') for name in moved)
