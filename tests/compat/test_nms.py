"""nms, soft-nms, nms_match and overlaps against plain loops in float64."""

import numpy as np
import pytest
import torch

pytest.importorskip('mmcv')

from mmcv.ops import bbox_overlaps, nms, nms_match, soft_nms

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]


def random_boxes(n=60, seed=0):
    rng = np.random.default_rng(seed)
    near = rng.uniform(0, 40, (n, 2))
    boxes = np.concatenate([near, near + rng.uniform(1, 25, (n, 2))], axis=1)
    return torch.from_numpy(boxes.astype(np.float32)), torch.rand(n)


def iou(a, b, offset=0, over_first=False):
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area_a = (a[2] - a[0] + offset) * (a[3] - a[1] + offset)
    area_b = (b[2] - b[0] + offset) * (b[3] - b[1] + offset)
    return w * h / (area_a if over_first else area_a + area_b - w * h)


def naive_nms(boxes, scores, threshold, offset):
    kept = []
    for i in np.argsort(-scores, kind='stable'):
        if all(iou(boxes[i], boxes[k], offset) <= threshold for k in kept):
            kept.append(int(i))
    return kept


def naive_soft_nms(boxes, scores, threshold, sigma, min_score, method):
    scores = scores.copy()
    left, order, decayed = list(range(len(boxes))), [], []
    while left:
        best = max(left, key=lambda i: scores[i])
        left.remove(best)
        order.append(best)
        decayed.append(scores[best])
        for i in left:
            overlap = iou(boxes[best], boxes[i])
            if method == 'gaussian':
                scores[i] *= np.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                scores[i] *= 1 - overlap if method == 'linear' else 0
        left = [i for i in left if scores[i] >= min_score]
    return order, decayed


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.3, 0.6])
def test_nms(device, offset, threshold):
    boxes, scores = random_boxes()
    dets, kept = nms(boxes.to(device), scores.to(device), threshold, offset)
    expected = naive_nms(boxes.double().numpy(), scores.double().numpy(), threshold, offset)
    assert kept.tolist() == expected
    torch.testing.assert_close(dets[:, :4].cpu(), boxes[expected])


def test_nms_of_one_integer_box_row():
    # Two boxes 4 wide with offset 1 overlap by 3 of 5 columns; without offset by 1/3.
    boxes = torch.tensor([[0, 0, 3, 3], [1, 0, 4, 3]], dtype=torch.float32)
    scores = torch.tensor([0.9, 0.8])
    assert len(nms(boxes, scores, 0.59, offset=1)[1]) == 1
    assert len(nms(boxes, scores, 0.61, offset=1)[1]) == 2
    assert len(nms(boxes, scores, 0.51, offset=0)[1]) == 2


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_nms_in_half_precision(dtype):
    boxes, scores = random_boxes()
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    expected = naive_nms(boxes.double().numpy(), scores.double().numpy(), 0.5, 0)
    assert nms(boxes, scores, 0.5)[1].tolist() == expected


def test_nms_without_boxes():
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5)[1].shape == (0,)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms(device, method):
    boxes, scores = random_boxes(40)
    dets, kept = soft_nms(
        boxes.to(device), scores.to(device), 0.3, sigma=0.5, min_score=0.01, method=method
    )
    order, decayed = naive_soft_nms(
        boxes.double().numpy(), scores.double().numpy(), 0.3, 0.5, 0.01, method
    )
    assert kept.tolist() == order
    torch.testing.assert_close(dets[:, :4].cpu(), boxes[order])
    torch.testing.assert_close(dets[:, 4].cpu().double(), torch.tensor(decayed), rtol=1e-5, atol=0)


def test_nms_match():
    boxes, scores = random_boxes(40)
    groups = nms_match(torch.cat([boxes, scores[:, None]], dim=1), 0.4)
    leaders = naive_nms(boxes.double().numpy(), scores.double().numpy(), 0.4, 0)
    assert [int(group[0]) for group in groups] == leaders
    assert sorted(int(i) for group in groups for i in group) == list(range(40))
    for group in groups:
        for member in group[1:]:
            assert iou(boxes[group[0]].tolist(), boxes[member].tolist()) >= 0.4
            assert scores[member] <= scores[group[0]]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('mode', ['iou', 'iof'])
@pytest.mark.parametrize('offset', [0, 1])
def test_bbox_overlaps(device, mode, offset):
    first, second = random_boxes(7)[0], random_boxes(5, seed=1)[0]
    result = bbox_overlaps(first.to(device), second.to(device), mode, offset=offset).cpu()
    expected = [
        [iou(a, b, offset, mode == 'iof') for b in second.tolist()] for a in first.tolist()
    ]
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-6)
    aligned = bbox_overlaps(first[:5].to(device), second.to(device), mode, True, offset).cpu()
    torch.testing.assert_close(aligned, result[:5].diagonal())
