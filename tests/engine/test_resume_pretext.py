"""Resumed runs whose answers the views carry, that learn their views, with two players or two towers."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from densecl.datasets.text import train_tokenizer
from densecl.engine import launch
from densecl.registry import MODELS
from tests.engine.test_resume import same_checkpoint

CONFIGS = Path(__file__).parents[2] / 'configs'

RECIPES = {
    'rotation': (
        'rotation/rotation_resnet18_1xb32-coslr-6e_photos.py',
        {'rotation.projector.channels': (32, 4)},
    ),
    'jigsaw': (
        'jigsaw/jigsaw_resnet18_1xb16-coslr-8e_photos.py',
        {'jigsaw.projector.each.channels': (32, 8), 'jigsaw.projector.together.channels': (72, 16, 16)},
    ),
    'context prediction': (
        'context/context_resnet18_1xb32-coslr-6e_photos.py',
        {'context.projector.together.channels': (64, 16, 8)},
    ),
    'Exemplar': (
        'exemplar/exemplar_resnet18_1xb64-coslr-6e_photos.py',
        {'exemplar.projector.channels': (32, 10), 'exemplar.target.classes': 10},
    ),
    'colorization': (
        'colorization/colorization_resnet18_1xb64-coslr-16e_photos.py',
        {'colors.projector.in_channels': 32},
    ),
    'context encoder': (
        'context_encoder/context-encoder-centre_resnet18_1xb64-coslr-16e_photos.py',
        {
            'pixels.projector': dict(in_channels=32, bottleneck=16, channels=(16, 16, 8, 8)),
            'pixels.objective.objectives.1.discriminator.channels': (3, 4, 8, 8, 16),
        },
    ),
    'ViewMaker': (
        'viewmaker/viewmaker_resnet18_1xb64-coslr-6e_photos.py',
        {'image.projector.channels': (32, 16, 16)},
    ),
    'CLIP': (
        'clip/clip_resnet18_1xb64-coslr-16e_captions.py',
        {
            'text.projector.channels': (32, 16),
            'text.target.tower': dict(width=16, depth=1, heads=2, projection=16, dropout=0.1),
        },
    ),
}


def small(method: str, tiny: Config, folder: Path) -> Config:
    """The recipe with five small convolutions, two epochs of two steps of four photos."""
    file, changes = RECIPES[method]
    cfg = Config.fromfile(CONFIGS / file)
    own = ('work_dir', 'launcher', 'log_level', 'train_cfg')
    heads = {f'model.heads.{name}': value for name, value in changes.items()}
    cfg.merge_from_dict({name: tiny[name] for name in own} | heads)
    cfg.model.backbone = dict(type='StridedConvs', channels=(3, 8, 8, 16, 32))
    if method == 'ViewMaker':
        cfg.model.view_maker.blocks = 1
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=3, max_keep_ckpts=-1)
    dataset = cfg.train_dataloader.dataset
    dataset.data_root = tiny.train_dataloader.dataset.data_root
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


@pytest.mark.parametrize('method', RECIPES)
def test_resumed_run_equals_the_uninterrupted_one(method, tiny_config, tmp_path):
    """Weights, optimiser and schedules of all players, and every loss; read by a worker after the resume."""
    cfg = small(method, tiny_config(), tmp_path)
    launch.build_runner(cfg).train()
    again = cfg.copy()
    again.train_dataloader.num_workers = 1
    again.work_dir = str(tmp_path / 'resumed')
    again.resume, again.load_from = True, str(tmp_path / 'run/iter_3.pth')
    launch.build_runner(again).train()
    same_checkpoint(*(tmp_path / run / 'iter_4.pth' for run in ('run', 'resumed')))
