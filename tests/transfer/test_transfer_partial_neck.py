"""A pyramid of which the pretraining had a part (ReSim) becomes that part of a detector's."""

import pytest
import torch
from mmdet.registry import MODELS as DET
from mmdet.utils import register_all_modules as register_mmdet
from mmengine.registry import DefaultScope

from densecl.models.necks import PartialFPN
from densecl.transfer import load_backbone
from densecl.transfer.regions import neck_to_detectron2


def detector(out_channels):
    register_mmdet(init_default_scope=False)
    backbone = dict(type='mmdet.ResNet', depth=18)
    neck = dict(
        type='mmdet.FPN', in_channels=[64, 128, 256, 512], out_channels=out_channels, num_outs=5
    )
    model = torch.nn.Module()
    with DefaultScope.overwrite_default_scope('mmdet'):
        model.backbone, model.neck = DET.build(backbone), DET.build(neck)
    return model


@pytest.fixture
def checkpoint():
    """A backbone, and the two middle levels of its pyramid."""
    torch.manual_seed(5)
    backbone = detector(16).backbone.state_dict()
    neck = PartialFPN([64, 128, 256, 512], 16, levels=(1, 2)).state_dict()
    parts = {'backbone': backbone, 'neck': neck}
    return {f'{part}.{k}': torch.randn_like(v) if v.is_floating_point() else v
            for part, state in parts.items() for k, v in state.items()}  # fmt: skip


def test_what_was_trained_loads_and_the_rest_is_named(checkpoint):
    model = detector(16)
    before = {k: v.clone() for k, v in model.neck.state_dict().items()}
    report = load_backbone(model, checkpoint)
    given = {k.removeprefix('neck.'): v for k, v in checkpoint.items() if k.startswith('neck.')}
    assert len(given) == 10
    for key, value in model.neck.state_dict().items():
        assert torch.equal(value, given.get(key, before[key])), key
    assert sorted(report.neck_matched) == sorted(given)
    assert report.neck_total == 16
    (warning,) = (w for w in report.warnings if 'neck' in w)
    assert '10 of the 16' in warning
    assert 'fpn_convs.0, fpn_convs.3, lateral_convs.0' in warning


def test_a_pyramid_of_another_width_is_left_out(checkpoint):
    model = detector(24)
    before = {k: v.clone() for k, v in model.neck.state_dict().items()}
    report = load_backbone(model, checkpoint)
    assert all(torch.equal(v, before[k]) for k, v in model.neck.state_dict().items())
    assert not report.neck_matched
    assert any('left out' in w for w in report.warnings)


def test_detectron2_numbers_levels_from_the_top(checkpoint):
    given = {k.removeprefix('neck.'): v for k, v in checkpoint.items() if k.startswith('neck.')}
    renamed = neck_to_detectron2(given)
    assert len(renamed) == len(given)
    for lateral, stage in ((1, 3), (2, 4), (3, 5)):
        theirs = renamed[f'backbone.fpn_lateral{stage}.weight']
        assert torch.equal(theirs, given[f'lateral_convs.{lateral}.conv.weight'])
    assert {k for k in renamed if 'output' in k} == {
        f'backbone.fpn_output{stage}.{leaf}' for stage in (3, 4) for leaf in ('weight', 'bias')
    }
