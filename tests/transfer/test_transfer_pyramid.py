"""A feature pyramid pretrained on its cells becomes a detector's, tensor by tensor."""

from pathlib import Path

import torch
from mmdet.registry import MODELS as DET
from mmdet.utils import register_all_modules as register_mmdet
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope

from densecl.registry import MODELS
from densecl.transfer import export_backbone, load_backbone, save_export

CONFIGS = Path(__file__).parents[2] / 'configs'


def pretrainer(name):
    cfg = Config.fromfile(CONFIGS / 'pixpro' / name)
    cfg.model.channels_last = False  # the layout of what is compared with
    with DefaultScope.overwrite_default_scope('densecl'):
        return cfg, MODELS.build(cfg.model).eval()


def detector(model):
    register_mmdet(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DET.build(model).eval()


@torch.no_grad()
def test_slim_mask_rcnn_starts_from_backbone_and_pyramid(tmp_path):
    cfg, model = pretrainer('pixpro_resnet18_fpn_1xb64-coslr-6e_photos.py')
    for part in (model.neck, model.target.neck):
        for tensor in part.state_dict().values():
            tensor.copy_(torch.rand(tensor.shape) / 10 + 0.01)
    checkpoint = tmp_path / 'epoch_6.pth'
    torch.save(dict(meta=dict(cfg=cfg.pretty_text), state_dict=model.state_dict()), checkpoint)
    file = save_export(export_backbone(checkpoint, 'mmdet'), tmp_path / 'mmdet.pth')
    found = detector(Config.fromfile(CONFIGS / '_base_/models/mask-rcnn_r18_fpn_slim.py').model)
    for source in (file, checkpoint):
        torch.nn.init.zeros_(found.neck.fpn_convs[0].conv.weight)
        report = load_backbone(found, source)
        assert len(report.neck_matched) == report.neck_total == 30 and not report.missing
    images = torch.randn(1, 3, 64, 96)
    pyramid, expected = found.extract_feat(images), model.encode(images)
    assert len(expected) == 3 and len(pyramid) == 4  # the detector pools one more from the last
    for mine, theirs in zip(pyramid[:3], expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_official_pyramid_has_the_stock_detectors_tensors():
    _, model = pretrainer('pixpro_resnet50_fpn_8xb128-coslr-100e_in1k.py')
    stock = get_config('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py').model
    stock.backbone.init_cfg = None
    shapes = [
        {name: tensor.shape for name, tensor in m.neck.state_dict().items()}
        for m in (model, detector(stock))
    ]
    assert shapes[0] == shapes[1] and len(shapes[0]) == 16
