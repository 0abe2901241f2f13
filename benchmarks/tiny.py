"""Recipes that are tiny: the small recipe of a method with three convolutions or two blocks, on 32 px."""

import copy
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config

CONFIGS = Path(__file__).parents[1] / 'configs'
SIDE, PATCH, WIDTH = 32, 8, 32
_CONVS = dict(_delete_=True, type='StridedConvs', channels=(3, 8, 16, WIDTH))
_VIT = dict(embed_dim=WIDTH, depth=2, num_heads=2, img_size=SIDE, patch_size=PATCH)


def make_photos(folder: Path, count: int) -> Path:
    """Small images of a disc each, which no other image has."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        image = np.full((48, 48, 3), rng.integers(0, 256, 3), np.uint8)
        color = rng.integers(0, 256, 3).tolist()
        cv2.circle(image, rng.integers(10, 38, 2).tolist(), int(rng.integers(5, 20)), color, -1)
        cv2.imwrite(str(folder / f'{i:04}.png'), image)
    return folder


def _convs(*widths: int, **more) -> dict:
    return dict(channels=(WIDTH, *widths), **more)


_CONTRAST = dict(projector=_convs(WIDTH, 16), objective=dict(queue=16, dim=16))
#: Name -> config of a method, changes of its model.
RECIPES = {
    'mocov2': ('mocov2/mocov2_resnet18_1xb64-coslr-6e_photos.py', dict(heads=dict(image=_CONTRAST))),
    'densecl': (
        'densecl/densecl_resnet18_1xb64-coslr-6e_photos.py',
        dict(heads=dict(image=_CONTRAST, dense=_CONTRAST)),
    ),
    'simsiam': (
        'simsiam/simsiam_resnet18_1xb64-coslr-6e_photos.py',
        dict(heads=dict(image=dict(projector=_convs(32, 32, 32), predictor=_convs(8, 32)))),
    ),
    'swav': (
        'swav/swav_resnet18_1xb64-mcrop-coslr-6e_photos.py',
        dict(heads=dict(image=dict(projector=_convs(32, 16, prototypes=12)))),
    ),
    'dino': (
        'dino/dino_resnet18_1xb64-mcrop-coslr-6e_photos.py',
        dict(
            heads=dict(image=dict(projector=_convs(32, 32, 16, prototypes=12), objective=dict(prototypes=12)))
        ),
    ),
    'mae': (
        'mae/mae_vit-slim_1xb64-coslr-16e_photos.py',
        dict(
            backbone=_VIT,
            heads=dict(
                pixels=dict(
                    projector=dict(in_channels=WIDTH, grid=SIDE // PATCH, embed_dim=16, depth=1, num_heads=2)
                )
            ),
        ),
    ),
    'simmim': (
        'simmim/simmim_vit-tiny_1xb64-coslr-16e_photos.py',
        dict(backbone=_VIT, heads=dict(pixels=dict(projector=_convs(PATCH * PATCH * 3)))),
    ),
    'pixpro': (
        'pixpro/pixpro_resnet18_1xb64-coslr-6e_photos.py',
        dict(heads=dict(pixel=dict(projector=_convs(32, 16), predictor=dict(channels=16)))),
    ),
    'scrl': (
        'scrl/scrl_resnet18_1xb64-coslr-6e_photos.py',
        dict(heads=dict(regions=dict(projector=_convs(32, 16), predictor=dict(channels=(16, 32, 16))))),
    ),
    'rotation': (
        'rotation/rotation_resnet18_1xb32-coslr-6e_photos.py',
        dict(heads=dict(rotation=dict(projector=_convs(4)))),
    ),
    'barlow_twins': (
        'barlow_twins/barlow_twins_resnet18_1xb64-coslr-6e_photos.py',
        dict(heads=dict(image=dict(projector=_convs(32, 32, 32)))),
    ),
}


def tiny_config(name: str, photos: Path, work_dir: Path, epochs: int, batch: int = 4, workers: int = 0):
    """The config of a recipe; its checkpoints and logs as the method has them."""
    file, changes = RECIPES[name]
    cfg = Config.fromfile(CONFIGS / file)
    model = copy.deepcopy(changes)  # merging takes _delete_ out
    if 'backbone' not in model:
        model['backbone'] = dict(_CONVS)
    if 'bn_groups' in cfg.model:
        model['bn_groups'] = 1
    cfg.merge_from_dict(dict(model=model, launcher='none', work_dir=str(work_dir)))
    for transform in cfg.train_dataloader.dataset.pipeline:
        for view in transform.get('views', []):
            view.size = SIDE
    cfg.train_dataloader.update(batch_size=batch, num_workers=workers, persistent_workers=False)
    cfg.train_dataloader.dataset.update(data_root=str(photos))
    cfg.train_cfg.max_epochs = epochs
    for schedule in cfg.param_scheduler:
        if 'T_max' in schedule:
            schedule.T_max = epochs
    return cfg
