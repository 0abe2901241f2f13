"""Offsets and assignment against loops in float64, and against mmdet's own."""

import pytest
import torch
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmengine.structures import InstanceData
from oracles import detections

from densecl.structures import assign_anchors, decode_boxes, encode_boxes, overlaps

STDS = (0.1, 0.1, 0.2, 0.2)


def boxes_of(count, seed, size=60.0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * size * 0.7
    sides = torch.rand(count, 2, generator=generator, dtype=torch.float64) * size * 0.5 + 3
    return torch.cat([corner, (corner + sides).clamp(max=size)], 1)


def test_overlaps():
    a, b = boxes_of(7, 0), boxes_of(5, 1)
    want = [[detections.iou(x, y) for y in b.tolist()] for x in a.tolist()]
    torch.testing.assert_close(overlaps(a, b), torch.tensor(want, dtype=torch.float64))
    assert overlaps(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0


def test_offsets_lead_from_anchor_to_box():
    a, b = boxes_of(9, 0), boxes_of(9, 1)
    got = encode_boxes(a, b, STDS)
    want = [detections.offsets(x, y, STDS) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    torch.testing.assert_close(got, torch.tensor(want, dtype=torch.float64))
    torch.testing.assert_close(decode_boxes(a, got, STDS, (60, 60)), b)
    coder = DeltaXYWHBBoxCoder(target_stds=STDS)
    torch.testing.assert_close(got.float(), coder.encode(a, b))  # float32 there
    wild = torch.randn(9, 4, dtype=torch.float64) * 30  # beyond the view, and beyond the longest side
    torch.testing.assert_close(
        decode_boxes(a, wild, STDS, (40, 50)), coder.decode(a, wild, max_shape=(40, 50))
    )


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('above', [0.7, 0.4])
def test_assignment(seed, above):
    anchors, boxes = boxes_of(120, seed), boxes_of(6, seed + 100)
    boxes[3] = boxes[1]  # two alike: anchors are nearest to both
    there = torch.tensor([True, True, False, True, True, True])
    index, finds, background = assign_anchors(anchors, boxes, there, above, 0.3)
    kept = there.nonzero()[:, 0].tolist()
    want = detections.assigned(anchors.tolist(), boxes[there].tolist(), above, 0.3)
    got = ['ignored' if not (f or b) else kept.index(i) if f else None for i, f, b in
           zip(index.tolist(), finds.tolist(), background.tolist(), strict=True)]  # fmt: skip
    assert got == want and {type(x) for x in want} >= {int, type(None)}
    theirs = MaxIoUAssigner(above, 0.3, 0.3).assign(
        InstanceData(priors=anchors), InstanceData(bboxes=boxes[there], labels=torch.zeros(5).long())
    )
    assert [{0: None, -1: 'ignored'}.get(i, i - 1) for i in theirs.gt_inds.tolist()] == got


def test_without_boxes_all_anchors_are_background():
    _, finds, background = assign_anchors(boxes_of(8, 0), boxes_of(2, 1), torch.zeros(2, dtype=torch.bool))
    assert not finds.any() and background.all()
