"""PixPro and PixContrast end to end against the official codes' formulas written out."""

import pytest
import torch
import torch.nn.functional as F

from densecl.models.pretrainers import MomentumPretrainer
from densecl.structures import Views
from tests.models.heads.made import CHANNELS, DIM, build, score

PROJECTOR = dict(type='densecl.ConvMLP', channels=(CHANNELS, 7, DIM), norm=True, bias=True)
PIXCONTRAST = dict(type='densecl.InfoNCE', queue=0, batch='image', form='in', mean='counted', temperature=0.3)


def views(batch=8, seed=0, size=32):
    """Random crops, about half of them mirrored, of images of 300 x 200; the first pair is apart."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(2, batch, 2, 2, generator=generator).sort(2).values
    boxes[:, 0] = torch.tensor([[[0.0, 0], [0.2, 0.2]], [[0.7, 0.7], [1, 1]]])
    boxes = (boxes * torch.tensor([300.0, 200])).flatten(2)
    return Views(
        images=list(torch.randn(2, batch, 3, size, size, generator=generator)),
        boxes=list(boxes),
        flipped=list(torch.rand(2, batch, generator=generator) < 0.5),
        source_sizes=torch.tensor([[200.0, 300.0]] * batch),
        indices=torch.arange(batch),
        paths=[''] * batch,
        photometric=[None] * 2,
    )


def pixpro_head(**kwargs):
    settings = dict(
        units='densecl.Cells',
        projector=PROJECTOR,
        predictor=dict(type='densecl.PixelPropagation', channels=DIM),
        matching=dict(type='densecl.ByLocation', threshold=0.7),
        objective=dict(type='densecl.Cosine', mean='images'),
        pairs=((0, 1), (1, 0)),
        loss_weight=4.0,
    )
    return build(**{**settings, **kwargs})


def corners(batch, view):
    """Left, top, right, bottom over the image's size; left and right change places in a mirrored view."""
    x1, y1, x2, y2 = (batch.boxes[view] / torch.tensor([300.0, 200, 300, 200])).unbind(1)
    flip = batch.flipped[view]
    return torch.where(flip, x2, x1), y1, torch.where(flip, x1, x2), y2


def official_mask(first, second, side):
    """Positive pairs with signed bin widths, as PixPro computes them."""
    places, diagonals = [], []
    for left, top, right, bottom in (first, second):
        width, height = (right - left) / side, (bottom - top) / side
        steps = torch.arange(side) + 0.5
        x = left[:, None] + steps * width[:, None]
        y = top[:, None] + steps * height[:, None]
        grid = torch.stack([x[:, None].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], -1)
        places.append(grid.flatten(1, 2))
        diagonals.append((width**2 + height**2).sqrt())
    unit = torch.stack(diagonals).amax(0)
    distance = (places[0][:, :, None] - places[1][:, None]).square().sum(-1).sqrt()
    return distance / unit[:, None, None] < 0.7


def official_direction(prediction, key, mask):
    """Twice minus the mean over images of the mean cosine over positive pairs."""
    q, k = (F.normalize(x, dim=1).flatten(2) for x in (prediction, key))
    cosine = torch.einsum('bcn,bcm->bnm', q, k)
    mask = mask.to(cosine.dtype)
    return -2 * ((cosine * mask).sum((1, 2)) / (mask.sum((1, 2)) + 1e-6)).mean()


def propagated(head, x):
    """x_i -> sum_j max(cos, 0)^2 g(x_j) / |g(x_j)|."""
    conv = head.predictor.value[0]
    flat = F.normalize(x, dim=1).flatten(2)
    similarity = torch.einsum('bcn,bcm->bnm', flat, flat).clamp(min=0) ** 2
    value = F.normalize(F.conv2d(x, conv.weight, conv.bias), dim=1).flatten(2)
    return torch.einsum('bnm,bcm->bcn', similarity, value).view_as(x)


def test_pixpro_equals_the_official_loss():
    head, target, batch = pixpro_head(), pixpro_head().projector, views()
    a, b = torch.randn(2, 8, CHANNELS, 4, 4, dtype=torch.float64)
    result = score(head, [a, b], batch, target)
    q1, q2, k1, k2 = head.projector(a), head.projector(b), target(a), target(b)
    mask = official_mask(corners(batch, 0), corners(batch, 1), 4)
    expected = official_direction(propagated(head, q1), k2.detach(), mask)
    expected = expected + official_direction(propagated(head, q2), k1.detach(), mask.transpose(1, 2))
    # 1e-6 beside at least one pair
    torch.testing.assert_close(head.weight(0) * result.loss, expected, rtol=1e-6, atol=1e-9)
    mine, theirs = (
        torch.autograd.grad(loss, list(head.parameters()), retain_graph=True)
        for loss in (4 * result.loss, expected)
    )
    for x, y in zip(mine, theirs, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-9)
    some = mask.flatten(1).any(1)
    assert not some[0] and some.sum() >= 4 and batch.flipped[0].any() and not batch.flipped[0].all()
    cells = torch.stack([mask.any(2), mask.any(1)]).float().mean()  # of both directions
    assert result.log['matched'] == cells and 0.05 < cells < 0.95


def test_pixcontrast_equals_the_loop():
    head = pixpro_head(predictor=None, objective=PIXCONTRAST, pairs=((0, 1),))
    target, batch = pixpro_head().projector, views()
    a, b = torch.randn(2, 8, CHANNELS, 3, 3, dtype=torch.float64)
    result = score(head, [a, b], batch, target)
    mask = official_mask(corners(batch, 0), corners(batch, 1), 3)
    q, k = (F.normalize(x, dim=1).flatten(2) for x in (head.projector(a), target(b)))
    terms = []
    for image in range(8):
        for i in range(9):
            weights = (q[image, :, i] @ k[image] / 0.3).exp()
            if mask[image, i].any():
                terms.append(-(weights[mask[image, i]].sum() / weights.sum()).log())
    assert 10 < len(terms) < 72
    torch.testing.assert_close(result.loss, torch.stack(terms).mean(), rtol=1e-10, atol=0)


def test_a_rule_of_one_match_serves_as_well():
    head = pixpro_head(matching='densecl.MostSimilar', predictor=None, pairs=((0, 1),))
    a = torch.randn(8, CHANNELS, 2, 3, dtype=torch.float64)
    order = torch.tensor([2, 0, 3, 1, 5, 4])
    b = a.flatten(2)[:, :, order].view_as(a)
    result = score(head, [a, b], views(), head.projector)
    assert float(result.loss.detach()) == pytest.approx(-1)


def test_no_image_matched_is_no_loss_and_no_gradient():
    head, batch = pixpro_head(), views()
    batch.boxes[1] = batch.boxes[0] + 1000
    a, b = torch.randn(2, 8, CHANNELS, 2, 2, dtype=torch.float64)
    result = score(head, [a, b], batch, head.projector)
    assert result.loss == 0 and result.log['matched'] == 0
    result.loss.backward()
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in head.parameters())


def test_trains_beside_an_image_term_and_on_any_level():
    """PixPro's term on C4 and C5 with MoCo's: every part of the backbone gets a gradient from it."""
    torch.manual_seed(0)

    def pixels(level, width):
        projector = dict(type='ConvMLP', channels=(width, 16, 8), norm=True, bias=True)
        return dict(
            units=dict(type='Cells', level=level), projector=projector, pairs=((0, 1), (1, 0)),
            predictor=dict(type='PixelPropagation', channels=8),
            matching='ByLocation',
            objective=dict(type='Cosine', mean='images'),
        )  # fmt: skip

    model = MomentumPretrainer(
        backbone=dict(type='mmdet.ResNet', depth=18, norm_eval=False, out_indices=(2, 3)),
        heads=dict(
            image=dict(
                projector=dict(type='MLP', channels=(512, 8)),
                objective=dict(type='InfoNCE', queue=16, dim=8),
            ),
            c4=pixels(0, 256),
            c5=pixels(1, 512),
        ),
    )
    losses = model(views(size=64), mode='loss')
    (losses['loss_c4'] + losses['loss_c5']).backward(retain_graph=True)
    assert all(p.grad.abs().max() > 0 for n, p in model.backbone.named_parameters())
    losses['loss_image'].backward()
    assert model.watched['c4'][0].shape == (128, 8) and model.watched['c5'][0].shape == (32, 8)
