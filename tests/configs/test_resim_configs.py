"""ReSim's pyramid has the tensors of the detectors that start from it, and an export carries them."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS as DET
from mmdet.utils import register_all_modules as register_mmdet
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope

from densecl.registry import MODELS
from densecl.transfer import export_backbone

CONFIGS = Path(__file__).parents[2] / 'configs'
OFFICIAL = 'resim-fpn_resnet50_8xb32-coslr-200e_in1k.py'
SMALL = 'resim_resnet18_1xb64-coslr-6e_photos.py'


def build(name):
    cfg = Config.fromfile(CONFIGS / 'resim' / name)
    cfg.model.heads.image.objective.queue = 16
    with DefaultScope.overwrite_default_scope('densecl'):
        return cfg, MODELS.build(cfg.model).eval()


def detector_neck(name):
    register_mmdet(init_default_scope=False)
    slim = CONFIGS / '_base_/models/mask-rcnn_r18_fpn_slim.py'
    stock = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
    cfg = Config.fromfile(slim) if name == SMALL else get_config(stock)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DET.build(cfg.model.neck).state_dict()


@pytest.mark.parametrize('name, fresh', [(OFFICIAL, {'0', '3'}), (SMALL, {'2'})])
def test_names_and_shapes_are_the_detectors(name, fresh, tmp_path):
    """All but the outputs (and what is below the first) that ReSim does not train."""
    cfg, model = build(name)
    wanted = {key: value.shape for key, value in detector_neck(name).items()}
    checkpoint = tmp_path / 'epoch_1.pth'
    torch.save(dict(meta=dict(cfg=cfg.pretty_text), state_dict=model.state_dict()), checkpoint)
    exported = export_backbone(checkpoint, 'mmdet')['state_dict']
    given = {k.removeprefix('neck.'): v for k, v in exported.items() if k.startswith('neck.')}
    assert {key: value.shape for key, value in given.items()}.items() <= wanted.items()
    assert {key.split('.')[1] for key in wanted if key not in given} == fresh
    for key, value in given.items():
        torch.testing.assert_close(value, model.neck.state_dict()[key])


@pytest.mark.parametrize('name, side, cells', [(OFFICIAL, 224, (28, 14, 7)), (SMALL, 112, (14, 7, 4))])
def test_levels_and_windows(name, side, cells):
    cfg, model = build(name)
    with torch.no_grad():
        levels = model.encode(torch.zeros(1, 3, side, side))
    assert tuple(level.shape[-1] for level in levels) == cells
    assert [model.heads[name].units.level for name in ('p3', 'p4', 'image')] == [0, 1, -1]
    weights = [head.weight(0) for head in model.heads.values()]
    assert weights == [1, 1, 1]
    regions = cfg.train_dataloader.dataset.pipeline[0].regions
    p4, p3 = (regions[model.heads[name].units.regions] for name in ('p4', 'p3'))
    assert (p4.window, p4.stride, p3.window, p3.stride) == (
        (48, 32, 32, 24) if name == OFFICIAL else (24, 16, 16, 12)
    )
