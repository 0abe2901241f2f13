"""Loading into real detectors and segmentors, and refusing what does not fit."""

from pathlib import Path

import pytest
import torch
import torchvision
from mmdet.models.backbones import ResNet as DetResNet
from mmdet.registry import MODELS as DET
from mmdet.utils import register_all_modules as register_mmdet
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmseg.models.backbones import ResNet as SegResNet
from mmseg.models.backbones import ResNetV1c
from mmseg.registry import MODELS as SEG
from mmseg.utils import register_all_modules as register_mmseg

from densecl.engine.launch import use_plain_batch_norm
from densecl.registry import MODELS
from densecl.transfer import (
    compare_features,
    export_backbone,
    feature_difference,
    load_backbone,
    read_weights,
)

CONFIGS = Path(__file__).parents[2] / 'configs'
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def build(registry, register, scope, config):
    register(init_default_scope=False)
    with DefaultScope.overwrite_default_scope(scope):
        return registry.build(config)


@pytest.fixture(scope='module')
def detector_config():
    model = get_config('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py').model
    model.backbone.update(depth=18, init_cfg=None)
    model.neck.in_channels = [64, 128, 256, 512]
    return model


@pytest.fixture
def detector(detector_config):
    return build(DET, register_mmdet, 'mmdet', detector_config)


def segmentor(backbone, **data):
    model = get_config('mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py').model
    model.pop('pretrained')
    model.backbone.update(type=backbone, depth=18, norm_cfg=dict(type='BN'))
    model.data_preprocessor.update(data)
    model.data_preprocessor.size = (64, 96)
    model.decode_head.update(in_channels=512, channels=32, norm_cfg=dict(type='BN'))
    model.auxiliary_head = None
    return build(SEG, register_mmseg, 'mmseg', model)


@pytest.mark.parametrize('branch', ['auto', 'online', 'target'])
def test_mask_rcnn(pretrained, detector, branch, image):
    path, source = pretrained
    report = load_backbone(detector, path, branch)
    expected = 'target' if branch == 'target' else 'online'
    assert (report.branch, report.fraction, report.warnings) == (expected, 1.0, [])
    assert report.prefix == ('target.backbone.' if branch == 'target' else 'backbone.')
    assert '100 of 100 backbone tensors' in str(report)
    reference = source.target.backbone if branch == 'target' else source.backbone
    for key, tensor in reference.state_dict().items():
        assert torch.equal(detector.backbone.state_dict()[key], tensor), key
    if branch != 'target':
        # Through both data preprocessors: channel order and normalisation are part of it.
        assert compare_features(source, detector, image) < 1e-4


def test_preprocessor_differences_show_in_features(pretrained, detector_config, image):
    path, source = pretrained
    config = Config(dict(model=detector_config)).model
    config.data_preprocessor.update(bgr_to_rgb=False, mean=[103.53, 116.28, 123.675], std=[1, 1, 1])
    model = build(DET, register_mmdet, 'mmdet', config)
    report = load_backbone(model, path)
    assert [w.split(':')[0] for w in report.warnings] == ['channel order', 'mean', 'std']
    assert 'set model.data_preprocessor.bgr_to_rgb=True' in report.warnings[0]
    assert compare_features(source, model, image) > 1
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(RuntimeError, match='channel order: trained on RGB, the model feeds BGR'):
        load_backbone(model, path, 'target', strict_meta=True)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_fcn(pretrained, image):
    path, source = pretrained
    model = segmentor('ResNet', mean=MEAN, std=STD)
    report = load_backbone(model, path)
    assert report.fraction == 1 and not report.warnings
    # mmseg dilates the last stages: other features, the same weights.
    plain = SegResNet(18)
    plain.load_state_dict(model.backbone.state_dict())
    images = torch.randn(1, 3, 64, 64)
    assert feature_difference(source.backbone, plain, images) == 0


def test_deep_stem_is_refused_whatever_the_share(pretrained50):
    path, _ = pretrained50
    for model in (segmentor('ResNetV1c'), ResNetV1c(depth=50)):
        with pytest.raises(RuntimeError, match=r"plain stem, the model a deep one.*type='ResNet'"):
            load_backbone(model, path)
    model = ResNetV1c(depth=50)
    fresh = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(RuntimeError, match='plain stem'):
        load_backbone(model, path, min_match=0.5)
    assert all(torch.equal(fresh[k], v) for k, v in model.state_dict().items())
    report = load_backbone(model, path, min_match=0)
    assert 'plain stem' in report.warnings[0] and report.fraction > 0.9


def test_depth_and_style(pretrained, pretrained50):
    with pytest.raises(RuntimeError, match='a ResNet-18, the model a ResNet-50: set backbone.depth=18'):
        load_backbone(DetResNet(50), pretrained[0])
    with pytest.raises(RuntimeError, match='a ResNet-50, the model a ResNet-18'):
        load_backbone(DetResNet(18), pretrained50[0])
    with pytest.raises(RuntimeError, match=r"style='pytorch', the model has style='caffe'"):
        load_backbone(DetResNet(50, style='caffe'), pretrained50[0])
    # Basic blocks have one place for their stride.
    assert load_backbone(DetResNet(18, style='caffe'), pretrained[0]).fraction == 1


def test_under_95_percent_is_refused_and_nothing_copied(pretrained):
    weights = read_weights(pretrained[0])
    names = [k for k in weights.tensors if k.startswith('backbone.') and 'num_batches' not in k]
    model = DetResNet(18)
    fresh = {k: v.clone() for k, v in model.state_dict().items()}
    fewer = {k: v for k, v in weights.tensors.items() if k not in names[-6:] and k.startswith('back')}
    with pytest.raises(RuntimeError, match=r'94 of 100 backbone tensors match \(94\.0 %\)') as error:
        load_backbone(model, {'state_dict': fewer})
    assert 'layer4' in str(error.value) and 'min_match=0' in str(error.value)
    assert all(torch.equal(fresh[k], v) for k, v in model.state_dict().items())
    fewer[names[-1]] = weights.tensors[names[-1]]
    report = load_backbone(model, {'state_dict': fewer})
    assert report.fraction == 0.95 and len(report.missing) == 5
    assert load_backbone(DetResNet(18), {'state_dict': {names[0]: weights.tensors[names[0]]}},
                         min_match=0).matched == ['conv1.weight']  # fmt: skip


def test_wrong_shapes_are_reported():
    tensors = {f'backbone.{k}': v for k, v in DetResNet(18).state_dict().items()}
    tensors['backbone.conv1.weight'] = torch.zeros(64, 1, 7, 7)
    tensors['backbone.layer1.0.extra'] = torch.zeros(1)
    report = load_backbone(DetResNet(18), {'state_dict': tensors}, min_match=0)
    assert report.mismatched == {'conv1.weight': ((64, 1, 7, 7), (64, 3, 7, 7))}
    assert report.unexpected == ['layer1.0.extra'] and len(report.matched) == 99
    assert '(64, 1, 7, 7) in the file, (64, 3, 7, 7) here' in str(report)


@pytest.mark.parametrize('prefix', ['', 'module.', 'module.encoder_q.', 'encoder.0.', 'student.backbone.'])
def test_any_prefix_is_found(prefix, batch):
    source = torchvision.models.resnet18()
    tensors = {prefix + k: v for k, v in source.state_dict().items()}
    model = DetResNet(18)
    report = load_backbone(model, {'state_dict': tensors})
    assert (report.prefix, report.fraction, report.unexpected) == (prefix, 1.0, [])
    assert feature_difference(source, model, batch) == 0


def test_branches_of_other_projects(batch):
    query, key = torchvision.models.resnet18(), torchvision.models.resnet18()
    tensors = {f'module.encoder_k.{k}': v for k, v in key.state_dict().items()}
    tensors |= {f'module.encoder_q.{k}': v for k, v in query.state_dict().items()}
    for branch, source in (('auto', query), ('online', query), ('target', key)):
        model = DetResNet(18)
        load_backbone(model, {'state_dict': tensors}, branch)
        assert feature_difference(source, model, batch) == 0


def test_wrong_branch(pretrained, tmp_path):
    online = export_backbone(pretrained[0], 'mmdet', 'online')
    with pytest.raises(ValueError, match='no target branch of this backbone, only online'):
        load_backbone(DetResNet(18), online, 'target')
    target = export_backbone(pretrained[0], 'mmdet', 'target')
    assert load_backbone(DetResNet(18), target).branch == 'target'
    with pytest.raises(ValueError, match='no online branch'):
        load_backbone(DetResNet(18), target, 'online')
    with pytest.raises(ValueError, match='branch must be'):
        load_backbone(DetResNet(18), online, 'teacher')


def test_neck_loads_as_far_as_it_was_trained(detector, detector_config):
    other = build(DET, register_mmdet, 'mmdet', detector_config)
    tensors = {k: v for k, v in other.state_dict().items() if k.startswith(('backbone.', 'neck.'))}
    report = load_backbone(detector, {'state_dict': tensors})
    assert len(report.neck_matched) == report.neck_total == 16
    assert all(torch.equal(v, detector.state_dict()[k]) for k, v in tensors.items())

    last = 'neck.fpn_convs.3.conv.weight'
    tensors = {k: torch.zeros_like(v) for k, v in tensors.items() if k != last}
    report = load_backbone(detector, {'state_dict': tensors})
    assert len(report.neck_matched) == 15
    assert '15 of the 16 tensors' in report.warnings[0]
    assert detector.neck.fpn_convs[0].conv.weight.abs().sum() == 0
    assert detector.neck.fpn_convs[3].conv.weight.abs().sum() > 0


def test_pretrainer_restarts_both_branches(pretrained):
    path, source = pretrained
    config = Config.fromstring(read_weights(path).meta['cfg'], '.py').model
    model = MODELS.build(config)
    load_backbone(model, path, 'target')
    for loaded in (model.backbone, model.target.backbone):
        assert torch.equal(loaded.layer4[1].conv2.weight, source.target.backbone.layer4[1].conv2.weight)


def test_not_a_checkpoint_of_this_backbone():
    with pytest.raises(RuntimeError, match='no name under any prefix matches'):
        load_backbone(DetResNet(18), {'state_dict': {'a.b': torch.zeros(2)}})


def test_the_last_stage_of_a_c4_detector_is_loaded_into_its_head(pretrained50):
    path, pretrainer = pretrained50
    cfg = Config.fromfile(CONFIGS / 'detection/faster-rcnn_r50_c4_24k_voc0712.py')
    use_plain_batch_norm(cfg._cfg_dict)
    model = build(DET, register_mmdet, 'mmdet', cfg.model)
    report = load_backbone(model, path)
    assert report.fraction == 1.0
    assert not report.unexpected
    mine, theirs = model.roi_head.shared_head.layer4, pretrainer.backbone.layer4
    for name, tensor in mine.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name
