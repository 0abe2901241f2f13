"""What AlignDet learned, pyramid, RPN, box head and regressor, becomes a detector's, with equal outputs."""

import pytest
import torch
from mmengine.config import Config

from densecl.transfer import export_backbone, load_backbone, save_export
from tests.transfer.test_transfer_box_head import CONFIGS, detector, pretrainer, saved, scramble

SMALL = 'aligndet/aligndet_resnet18_fpn_1xb8-coslr-3e_photos.py'
OFFICIAL = 'aligndet/aligndet_mask-rcnn_r50_fpn_8xb2-steplr-12e_coco.py'


@pytest.fixture(scope='module')
def aligned(tmp_path_factory):
    """(path of the checkpoint, the pretrainer) of the small AlignDet."""
    path = tmp_path_factory.mktemp('aligndet') / 'epoch_3.pth'
    return path, saved(path, Config.fromfile(CONFIGS / SMALL))


def tuned(agnostic=True):
    cfg = Config.fromfile(CONFIGS / 'detection/faster-rcnn_r18_fpn-bn_4conv1fc-bn_bccd.py')
    cfg.model.roi_head.bbox_head.reg_class_agnostic = agnostic
    return detector(cfg.model)


@pytest.mark.parametrize('agnostic', [True, False])
@pytest.mark.parametrize('exported', [True, False])
@pytest.mark.parametrize('branch', ['online', 'target'])
@torch.no_grad()
def test_detector_starts_from_all_parts(aligned, branch, exported, agnostic, tmp_path):
    path, model = aligned
    found = tuned(agnostic)
    scramble(found)
    source = path
    if exported:
        source = save_export(export_backbone(path, 'mmdet', branch), tmp_path / 'mmdet.pth')
    report = load_backbone(found, source, branch)
    assert report.fraction == 1 and not report.warnings and report.branch == branch
    assert len(report.neck_matched) == report.neck_total == 30
    assert len(report.rpn_matched) == report.rpn_total == 6
    assert len(report.box_head_matched) == report.box_head_total == 4 * 5 + 2 + 2
    assert '  RPN            6 of 6 tensors' in str(report)
    side = model if branch == 'online' else model.target
    projector = model.heads['proposals'].projector if branch == 'online' else side.heads['proposals']
    pyramid, expected = (x.neck(x.backbone(torch.ones(2, 3, 64, 96))) for x in (found, side))
    for mine, theirs in zip(found.rpn_head(pyramid), projector.rpn_head(expected), strict=True):
        for a, b in zip(mine, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    pooled = torch.randn(5, 64, 7, 7)
    head, shared = found.roi_head.bbox_head, {}
    head.fc_cls.register_forward_pre_hook(lambda module, inputs: shared.update(x=inputs[0]))
    offsets = head(pooled)[1].unflatten(1, (-1, 4))
    features, wanted = projector(pooled)
    torch.testing.assert_close(shared['x'], features, rtol=0, atol=0)
    assert offsets.shape[1] == (1 if agnostic else 3) and wanted.abs().max() > 0
    torch.testing.assert_close(offsets, wanted[:, None].expand_as(offsets), rtol=1e-6, atol=1e-6)


def test_another_rpn_is_left_out_whole(aligned):
    cfg = Config.fromfile(CONFIGS / 'detection/faster-rcnn_r18_fpn-bn_4conv1fc-bn_bccd.py')
    cfg.model.rpn_head.anchor_generator.ratios = [1.0]
    found = detector(cfg.model)
    before = {k: v.clone() for k, v in found.rpn_head.state_dict().items()}
    report = load_backbone(found, aligned[0])
    assert report.rpn_matched == [] and report.rpn_total == 6 and len(report.box_head_matched) == 24
    assert any('of an RPN' in text and 'anchors' in text for text in report.warnings)
    assert all(torch.equal(before[k], v) for k, v in found.rpn_head.state_dict().items())


def test_another_pretraining_starts_from_all_parts(aligned):
    path, model = aligned
    fresh = pretrainer(Config.fromfile(CONFIGS / SMALL))
    report = load_backbone(fresh, path)
    assert len(report.box_head_matched) == 24 and len(report.rpn_matched) == 6
    for name, value in model.heads['proposals'].projector.state_dict().items():
        if not name.startswith('mlp.'):
            assert torch.equal(fresh.heads['proposals'].projector.state_dict()[name], value)
            assert torch.equal(fresh.target.heads['proposals'].state_dict()[name], value)


def test_names_of_an_export(aligned):
    names = export_backbone(aligned[0], 'mmdet')['state_dict']
    assert {k.split('.')[0] for k in names if 'head' in k} == {'rpn_head', 'roi_head'}
    assert {k for k in names if 'fc_' in k} == {f'roi_head.bbox_head.fc_reg.{x}' for x in ('weight', 'bias')}
    assert not any('mlp' in name for name in names)
    assert 'rpn_head' not in str(export_backbone(aligned[0], 'torchvision')['state_dict'].keys())


def test_official_models_agree_name_by_name():
    pretrained = Config.fromfile(CONFIGS / OFFICIAL)
    tuned = Config.fromfile(CONFIGS / 'detection/mask-rcnn_r50_fpn_4conv1fc_1x_coco.py')
    optimizer = tuned.optim_wrapper.optimizer
    assert optimizer.lr == 0.03 and optimizer.weight_decay == 5e-5
    with torch.device('meta'):
        detects = detector(tuned.model)
    model = pretrainer(pretrained)

    def shapes(module):
        return {k: v.shape for k, v in module.state_dict().items() if not k.startswith('fc_')}

    projector = model.heads['proposals'].projector
    for mine, theirs in (
        (model.backbone, detects.backbone),
        (model.neck, detects.neck),
        (projector.rpn_head, detects.rpn_head),
        (projector.box_head, detects.roi_head.bbox_head),
    ):
        assert shapes(mine) == shapes(theirs)
    assert projector.stds == tuple(detects.rpn_head.bbox_coder.stds)
    assert projector.region_stds == tuple(detects.roi_head.bbox_head.bbox_coder.stds)
    units, extractor = model.heads['proposals'].units, tuned.model.roi_head.bbox_roi_extractor
    assert units.thresholds[:-1] == tuple(56 * 2**i for i in (1, 2, 3))
    assert len(units.levels) == len(extractor.featmap_strides)
