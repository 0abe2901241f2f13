"""RPN and box head as a projector: mmdet's anchors, mmdet's order, and what does not fit."""

import pytest
import torch

from densecl.models.necks import DetectorHeads

RPN = dict(
    type='mmdet.RPNHead',
    in_channels=4,
    feat_channels=5,
    anchor_generator=dict(type='AnchorGenerator', scales=[4], ratios=[0.5, 1.0, 2.0], strides=[8, 16]),
    bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[1.0] * 4),
)
BOX = dict(type='mmdet.Shared2FCBBoxHead', in_channels=4, fc_out_channels=9, roi_feat_size=3)


def heads(rpn=None, box=None):
    return DetectorHeads({**RPN, **(rpn or {})}, {**BOX, **(box or {})}, channels=(9, 6))


def test_anchors_and_offsets_are_in_mmdets_order():
    found, maps = heads(), [torch.randn(2, 4, 5, 7), torch.randn(2, 4, 3, 4)]
    anchors = found.anchors(maps, (40, 56))
    expected = found.rpn_head.prior_generator.grid_priors([(5, 7), (3, 4)], device='cpu')
    for mine, theirs in zip(anchors, expected, strict=True):
        assert torch.equal(mine, theirs)
    logits, offsets = found.propose(maps)
    scores, deltas = found.rpn_head(tuple(maps))
    assert [x.shape for x in offsets] == [(2, 105, 4), (2, 36, 4)]
    for y, x, a in ((0, 0, 2), (4, 6, 1), (2, 3, 0)):
        number = (y * 7 + x) * 3 + a
        assert torch.equal(logits[0][1, number], scores[0][1, a, y, x])
        assert torch.equal(offsets[0][1, number], deltas[0][1, 4 * a : 4 * a + 4, y, x])


@pytest.mark.parametrize('kind', ['Shared2FCBBoxHead', 'Shared4Conv1FCBBoxHead', 'ConvFCBBoxHead'])
def test_what_classes_would_see_is_embedded(kind):
    box = dict(type=f'mmdet.{kind}')
    if kind == 'ConvFCBBoxHead':
        box |= dict(num_shared_convs=1, num_cls_fcs=1, num_reg_convs=1)
    found = heads(box=box)
    assert not any('fc_cls' in name for name in found.state_dict())
    features, offsets = found(torch.randn(6, 4, 3, 3))
    assert features.shape == (6, 9) and offsets.shape == (6, 4) and (features >= 0).all()
    assert found.mlp(features).shape == (6, 6)


def test_weights_start_as_mmdets_do():
    weights = heads().state_dict()
    assert 0.005 < weights['rpn_head.rpn_reg.weight'].std() < 0.02  # Normal(0, 0.01)
    assert 0 < weights['box_head.fc_reg.weight'].std() < 0.003  # Normal(0, 0.001)
    assert not any('_shapes' in name for name in weights)


@pytest.mark.parametrize(
    ('rpn', 'box', 'message'),
    [
        (dict(bbox_coder=dict(type='TBLRBBoxCoder')), {}, 'rpn_head must regress offsets'),
        ({}, dict(reg_decoded_bbox=True), 'box_head must regress offsets'),
        (dict(loss_cls=dict(type='CrossEntropyLoss')), {}, 'one logit an anchor'),
    ],
)
def test_heads_that_do_not_fit_are_refused(rpn, box, message):
    with pytest.raises(ValueError, match=message):
        heads(rpn, box)


def test_levels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r'levels of \[\(5, 7\), \(3, 4\)\] cells, but the neck returns'):
        heads().anchors([torch.randn(1, 4, 5, 7)], (40, 56))
