"""A box head pretrained on objects becomes a detector's, as backbone and pyramid do; C4's stage likewise."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS as DET
from mmdet.utils import register_all_modules as register_mmdet
from mmengine.config import Config
from mmengine.registry import DefaultScope

from densecl.models.heads.units.pooling import pool_boxes
from densecl.registry import MODELS
from densecl.transfer import check_export, export_backbone, load_backbone, read_weights, save_export

CONFIGS = Path(__file__).parents[2] / 'configs'
SMALL = 'soco_resnet18_fpn_1xb64-coslr-6e_photos.py'


def scramble(model):
    """Values of its own for every tensor, batch statistics too, that keep features finite."""
    torch.manual_seed(3)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim:
            scale = (2 / tensor[0].numel()) ** 0.5 if tensor.ndim > 1 else 0.1
            tensor.copy_(torch.randn(tensor.shape) * scale)
            if tensor.ndim == 1 and not name.endswith(('bias', 'running_mean')):
                tensor.abs_().add_(0.7)


def pretrainer(cfg):
    cfg.model.channels_last = False  # the layout of what is compared with
    with DefaultScope.overwrite_default_scope('densecl'):
        return MODELS.build(cfg.model).eval()


def detector(model):
    register_mmdet(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DET.build(model).eval()


def saved(path, cfg):
    model = pretrainer(cfg)
    scramble(model)
    torch.save(dict(meta=dict(cfg=cfg.pretty_text), state_dict=model.state_dict()), path)
    return model


@pytest.fixture(scope='module')
def soco(tmp_path_factory):
    """(path of the checkpoint, the pretrainer) of the small SoCo."""
    path = tmp_path_factory.mktemp('soco') / 'epoch_6.pth'
    return path, saved(path, Config.fromfile(CONFIGS / 'soco' / SMALL))


@pytest.fixture(scope='module')
def found():
    """The detector that the small SoCo is for."""
    cfg = Config.fromfile(CONFIGS / 'detection/faster-rcnn_r18_fpn-bn_4conv1fc-bn_bccd.py')
    return detector(cfg.model)


@pytest.mark.parametrize('branch', ['online', 'target'])
@pytest.mark.parametrize('exported', [True, False])
@torch.no_grad()
def test_detector_starts_from_backbone_pyramid_and_box_head(soco, found, branch, exported, tmp_path):
    path, model = soco
    scramble(found.roi_head.bbox_head)
    source = path
    if exported:
        source = save_export(export_backbone(path, 'mmdet', branch), tmp_path / 'mmdet.pth')
    report = load_backbone(found, source, branch)
    assert not report.missing and not report.warnings and report.fraction == 1 and report.branch == branch
    assert len(report.neck_matched) == report.neck_total == 30
    assert len(report.box_head_matched) == report.box_head_total == 4 * 5 + 2
    assert '  box head      22 of 22 tensors' in str(report)
    side = model if branch == 'online' else model.target
    projector = model.heads['objects'].projector if branch == 'online' else side.heads['objects']
    images, boxes = torch.randn(2, 3, 64, 96), torch.tensor([[[4.0, 6, 60, 50]], [[20, 8, 90, 40]]])
    pyramid, expected = found.extract_feat(images), side.neck(side.backbone(images))
    for mine, theirs in zip(pyramid[:3], expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)
    # the detector's way: its own RoIAlign and box head, up to where classes begin
    rois = torch.cat([torch.arange(2.0)[:, None], boxes[:, 0]], 1)
    layer = found.roi_head.bbox_roi_extractor.roi_layers[0]
    pooled = layer(pyramid[0], rois)
    torch.testing.assert_close(pooled, pool_boxes(expected[0], boxes, (64, 96), 7))
    head, shared = found.roi_head.bbox_head, {}
    head.fc_cls.register_forward_pre_hook(lambda module, inputs: shared.update(x=inputs[0]))
    head(pooled)
    torch.testing.assert_close(shared['x'], projector.box_head(pooled), rtol=0, atol=0)
    assert shared['x'].abs().max() > 0


def test_a_detectron2_export_comes_back_whole(soco, found, tmp_path):
    """Without batch counters, which detectron2 does not have."""
    path, model = soco
    scramble(found)
    file = save_export(export_backbone(path, 'detectron2'), tmp_path / 'd2.pkl')
    report = load_backbone(found, file)
    assert report.fraction == 1 and not report.warnings
    assert len(report.neck_matched) == report.neck_total == 30
    assert len(report.box_head_matched) == report.box_head_total == 22
    mine, theirs = found.neck.state_dict(), model.neck.state_dict()
    assert all(torch.equal(mine[k], v) for k, v in theirs.items() if 'num_batches' not in k)
    box_head = model.heads['objects'].projector.box_head.state_dict()
    mine = found.roi_head.bbox_head.state_dict()
    assert all(torch.equal(mine[k], v) for k, v in box_head.items() if 'num_batches' not in k)


def test_a_detector_of_detectron2_is_read_with_its_pyramid():
    tensors = {
        'backbone.bottom_up.res2.0.conv1.weight': torch.zeros(1),
        'backbone.fpn_lateral2.bias': torch.zeros(2),
        'backbone.fpn_output5.norm.weight': torch.zeros(3),
        'roi_heads.box_head.fc1.bias': torch.zeros(4),
        'roi_heads.box_head.conv2.weight': torch.zeros(5),
    }
    names = {k: len(v) for k, v in read_weights(tensors).tensors.items()}
    root = 'backbone.bottom_up.'
    assert names == {
        f'{root}layer1.0.conv1.weight': 1,
        f'{root}neck.lateral_convs.0.conv.bias': 2,
        f'{root}neck.fpn_convs.3.bn.weight': 3,
        f'{root}roi_head.bbox_head.shared_fcs.0.bias': 4,
        f'{root}roi_head.bbox_head.shared_convs.1.conv.weight': 5,
    }


def test_the_export_says_how_all_of_it_is_loaded(soco):
    assert 'backbone alone' in export_backbone(soco[0], 'mmdet')['meta']['how_to_load']


def test_a_pyramid_on_three_stages_keeps_its_numbers_in_detectron2(tmp_path):
    cfg = Config.fromfile(CONFIGS / 'soco' / SMALL)
    cfg.model.backbone.out_indices, cfg.model.neck.in_channels = (0, 1, 2), [64, 128, 256]
    saved(tmp_path / 'a.pth', cfg)
    names = export_backbone(tmp_path / 'a.pth', 'detectron2')['state_dict']
    assert {k.split('.')[1] for k in names if 'lateral' in k} == {f'fpn_lateral{i}' for i in (2, 3, 4)}


def test_the_branches_differ(soco):
    a, b = (export_backbone(soco[0], 'mmdet', branch)['state_dict'] for branch in ('online', 'target'))
    key = 'roi_head.bbox_head.shared_convs.3.conv.weight'
    assert a.keys() == b.keys() and not torch.equal(a[key], b[key])
    assert not any('mlp' in name or 'predictor' in name for name in a)


def test_a_box_head_of_another_shape_is_left_out_whole(soco):
    path, _ = soco
    other = detector(Config.fromfile(CONFIGS / 'detection/faster-rcnn_r18_fpn_bccd.py').model)
    before = {k: v.clone() for k, v in other.roi_head.bbox_head.state_dict().items()}
    report = load_backbone(other, path)
    assert report.fraction == 1 and len(report.neck_matched) == 30
    assert report.box_head_matched == [] and report.box_head_total == 4
    assert any('Shared4Conv1FCBBoxHead' in text for text in report.warnings)
    after = other.roi_head.bbox_head.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize(
    ('without', 'neck', 'head', 'fresh'),
    [
        ('roi_head.*fcs', 30, 20, 'shared_fcs.0'),
        (r'roi_head.*(fcs|convs\.[23])', 30, 10, 'shared_convs.2'),
        ('roi_head', 30, 0, None),
        ('neck|roi_head', 0, 0, None),
    ],
)
def test_what_stays_behind_starts_afresh(soco, found, without, neck, head, fresh, tmp_path):
    path, model = soco
    scramble(found)
    before = {k: v.clone() for k, v in found.state_dict().items()}
    file = save_export(export_backbone(path, 'mmdet', without=without), tmp_path / 'part.pth')
    report = load_backbone(found, file)
    assert report.fraction == 1 and len(report.neck_matched) == neck and len(report.box_head_matched) == head
    said = [f"the file's box head ends before {fresh}, which starts afresh"] if fresh else []
    assert report.warnings == said
    given = model.heads['objects'].projector.box_head.state_dict()
    for key, value in found.state_dict().items():
        part = key.removeprefix('roi_head.bbox_head.')
        if part in report.box_head_matched:
            assert torch.equal(value, given[part])
        elif 'roi_head' in key or (key.startswith('neck') and not neck):
            assert torch.equal(value, before[key])


def test_leaving_behind_what_is_not_there(soco):
    with pytest.raises(ValueError, match=r'matches nothing beside .* has neck, roi_head.bbox_head$'):
        export_backbone(soco[0], without='rpn_head')
    with pytest.raises(ValueError, match="without='\\('.* is no regular expression"):
        export_backbone(soco[0], without='(')


@pytest.mark.parametrize('layer', ['shared_convs.1.', 'shared_fcs.0.weight'])
def test_a_box_head_with_a_gap_is_left_out(soco, found, layer):
    export = export_backbone(soco[0])
    held = {k: v for k, v in export['state_dict'].items() if layer not in k}
    report = load_backbone(found, dict(export, state_dict=held))
    assert report.fraction == 1 and report.box_head_matched == []
    assert 'were left out' in report.warnings[0]


def test_another_pretraining_starts_from_the_box_head(soco):
    path, model = soco
    fresh = pretrainer(Config.fromfile(CONFIGS / 'soco' / SMALL))
    report = load_backbone(fresh, path)
    assert len(report.box_head_matched) == 22
    key = 'box_head.shared_fcs.0.weight'
    mine = fresh.heads['objects'].projector.state_dict()[key]
    assert torch.equal(mine, model.heads['objects'].projector.state_dict()[key])
    assert torch.equal(mine, fresh.target.heads['objects'].state_dict()[key])


def test_detectron2_names(soco, tmp_path):
    path, model = soco
    export = export_backbone(path, 'detectron2')
    state = export['state_dict']
    norm = ['weight', 'bias', 'running_mean', 'running_var']
    convs = [f'backbone.fpn_{kind}{level}' for kind in ('lateral', 'output') for level in (3, 4, 5)]
    convs += [f'roi_heads.box_head.conv{i}' for i in (1, 2, 3, 4)]
    expected = {f'{c}.weight' for c in convs} | {f'{c}.norm.{leaf}' for c in convs for leaf in norm}
    expected |= {'roi_heads.box_head.fc1.weight', 'roi_heads.box_head.fc1.bias'}
    assert {k for k in state if k.startswith(('backbone.', 'roi_heads.'))} == expected
    box_head, neck = model.heads['objects'].projector.box_head, model.neck
    pairs = {
        'backbone.fpn_lateral3.weight': neck.lateral_convs[0].conv.weight,
        'backbone.fpn_output5.norm.running_var': neck.fpn_convs[2].bn.running_var,
        'roi_heads.box_head.conv4.norm.bias': box_head.shared_convs[3].bn.bias,
        'roi_heads.box_head.fc1.weight': box_head.shared_fcs[0].weight,
    }
    assert all(torch.equal(state[name], tensor) for name, tensor in pairs.items())
    stages = {'stem', 'res2', 'res3', 'res4', 'res5'}
    assert {k.split('.')[0] for k in state} == {'backbone', 'roi_heads'} | stages
    assert 'neck' not in str(export_backbone(path, 'torchvision')['state_dict'].keys())


def test_official_models_agree_name_by_name():
    pretrained = Config.fromfile(CONFIGS / 'soco/soco_resnet50_fpn_16xb128-coslr-100e_in1k.py')
    tuned = Config.fromfile(CONFIGS / 'detection/mask-rcnn_r50_fpn-bn_4conv1fc-bn_1x_coco.py')
    assert tuned.optim_wrapper.optimizer.weight_decay == 2.5e-5
    with torch.device('meta'):
        model, detects = pretrainer(pretrained), detector(tuned.model)

    def shapes(module):
        return {k: v.shape for k, v in module.state_dict().items() if not k.startswith('fc_')}

    projector = model.heads['objects'].projector
    for mine, theirs in (
        (model.backbone, detects.backbone),
        (model.neck, detects.neck),
        (projector.box_head, detects.roi_head.bbox_head),
    ):
        assert shapes(mine) == shapes(theirs)
    assert sum('shared' in k for k in shapes(projector.box_head)) == 26


def c4_configs():
    """The C4 pretrainer and detector of this repository with a ResNet-18."""
    cfg = Config.fromfile(CONFIGS / 'soco/soco_resnet50_c4_16xb128-coslr-100e_in1k.py')
    cfg.model.backbone.depth = 18
    projector = cfg.model.heads.objects.projector
    projector.stage.depth, projector.channels = 18, (512, 64, 16)
    cfg.model.heads.objects.predictor.channels = (16, 64, 16)
    tuned = Config.fromfile(CONFIGS / 'detection/faster-rcnn_r50_c4_24k_voc0712.py').model
    tuned.backbone.depth = tuned.roi_head.shared_head.depth = 18
    tuned.roi_head.bbox_roi_extractor.out_channels = tuned.rpn_head.in_channels = 256
    tuned.roi_head.bbox_head.in_channels = 512
    return cfg, tuned


@torch.no_grad()
def test_last_stage_pretrained_on_regions_returns_to_backbone_or_c4_head(tmp_path, image):
    cfg, tuned = c4_configs()
    path = tmp_path / 'epoch_100.pth'
    model = saved(path, cfg)
    stage = model.heads['objects'].projector.stage
    assert 'layer4' not in dict(model.backbone.named_children())
    export = export_backbone(path, 'mmdet')
    assert export['meta']['depth'] == 18
    file = save_export(export, tmp_path / 'mmdet.pth')
    for source in (file, path):
        found = detector(tuned)
        report = load_backbone(found, source)
        assert report.fraction == 1 and not report.unexpected and not report.warnings
        regions = torch.randn(3, 256, 14, 14)
        shared = found.roi_head.shared_head
        torch.testing.assert_close(shared(regions), stage(regions), rtol=0, atol=0)
    for target in ('torchvision', 'mmseg'):  # a whole backbone
        out = save_export(export_backbone(path, target), tmp_path / f'{target}.pth')
        assert check_export(path, out, 'online', image) < 1e-4
    names = export_backbone(path, 'detectron2')['state_dict']
    assert torch.equal(names['res5.1.conv2.weight'], stage.layer4[1].conv2.weight)
    fresh = pretrainer(c4_configs()[0])
    report = load_backbone(fresh, read_weights(path), 'target')
    assert report.fraction == 1
    theirs = model.target.heads['objects'].stage.state_dict()
    mine = fresh.heads['objects'].projector.stage.state_dict()
    assert all(torch.equal(mine[k], theirs[k]) for k in theirs)
