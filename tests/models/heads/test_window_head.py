"""ReSim's head: exact means over windows, what is negative, the whole loss written out, flips."""

import pytest
import torch
import torch.nn.functional as F
from densecl.models.heads.windows import pool_windows
from torchvision.ops import roi_align

from densecl.models.heads import WindowHead
from densecl.models.pretrainers import MomentumPretrainer
from densecl.structures import Views, cell_centers


def mean_over(level, box, size):
    """(C, H, W), one box in pixels: between centres of cells the map is bilinear, and the middle of a
    rectangle has its mean."""
    height, width = level.shape[1:]

    def pieces(near, far, cells):
        edges = [near, *(i + 0.5 for i in range(cells) if near < i + 0.5 < far), far]
        return [((a + b) / 2, (b - a) / (far - near)) for a, b in zip(edges[:-1], edges[1:], strict=True)]

    x1, y1, x2, y2 = (
        float(value) * side / full
        for value, side, full in zip(box, (width, height) * 2, (size[1], size[0]) * 2, strict=True)
    )
    total = 0
    for y, part in pieces(y1, y2, height):
        for x, share in pieces(x1, x2, width):
            place = torch.tensor([[[[2 * x / width - 1, 2 * y / height - 1]]]], dtype=level.dtype)
            read = F.grid_sample(level[None], place, padding_mode='border', align_corners=False)
            total = total + part * share * read.flatten()
    return total


def draw_boxes(count, size, least=10.0):
    corner = torch.rand(count, 2, dtype=torch.float64) * (torch.tensor([size[1], size[0]]) - least)
    room = torch.tensor([size[1], size[0]]) - corner
    return torch.cat([corner, corner + least + torch.rand(count, 2, dtype=torch.float64) * (room - least)], 1)


@pytest.mark.parametrize('grid', [(7, 9), (1, 4), (2, 1)])
def test_means_over_windows_are_exact(grid):
    torch.manual_seed(0)
    level = torch.randn(2, 3, *grid, dtype=torch.float64)
    boxes = draw_boxes(24, (56, 72)).view(2, 12, 4)
    boxes[0, 0] = torch.tensor([0.0, 0, 72, 56])
    found = pool_windows(level, boxes, (56, 72))
    for b in range(2):
        for r in range(12):
            torch.testing.assert_close(found[b, r], mean_over(level[b], boxes[b, r], (56, 72)))


def test_gradients_of_means():
    level = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    boxes = draw_boxes(3, (32, 40))[None]
    assert torch.autograd.gradcheck(lambda x: pool_windows(x, boxes, (32, 40)), level)


def roi_align_error(samples):
    """Largest error of RoIAlign beside the integral, in standard deviations of the map."""
    torch.manual_seed(0)
    level = torch.randn(8, 16, 14, 14, dtype=torch.float64)
    boxes = draw_boxes(8 * 36, (224, 224), 16.0).view(8, 36, 4)
    exact = pool_windows(level, boxes, (224, 224)).flatten(0, 1)
    sampled = roi_align(level, list(boxes / 16), 1, sampling_ratio=samples, aligned=True).flatten(1)
    return float((exact - sampled).abs().max())


def test_roi_align_comes_to_the_same():
    """On white noise, windows of 16 px to the whole view: with its own number of samples, one a
    cell, and with 4, 16 and 64 a side."""
    own, *errors = (roi_align_error(samples) for samples in (-1, 4, 16, 64))
    assert 0.05 < own < 0.3
    assert errors[0] < 0.8 and errors[1] < 0.06 and errors[2] < 4e-3


def ramp(boxes, flipped, grid):
    """A map whose cells hold their own place in the image."""
    return cell_centers(boxes.double(), flipped, grid).transpose(1, 2).unflatten(2, grid)


class Given(dict):
    """A branch whose levels are given."""

    joint = False


def views(boxes, flipped, size):
    count = len(boxes[0])
    return Views(
        images=[torch.zeros(count, 3, *size)] * 2,
        boxes=boxes,
        flipped=flipped,
        source_sizes=torch.full((count, 2), 300.0),
        indices=torch.arange(count),
        paths=[''] * count,
        photometric=[None] * 2,
    )


def head(**kwargs):
    kwargs = dict(window=24, stride=16, objective=dict(type='densecl.WindowInfoNCE')) | kwargs
    return WindowHead(**kwargs)


def test_the_same_place_is_read_in_both_views():
    """Whatever the flips: views of a ramp have the same vectors."""
    torch.manual_seed(0)
    corner = torch.rand(2, 60, 2) * 30
    boxes = [torch.cat([c, c + 70 + 40 * torch.rand(60, 2)], 1) for c in corner]
    flipped = [torch.arange(60) % 2 == 0, torch.arange(60) % 3 == 0]
    data = views(boxes, flipped, (160, 192))
    placed, inside = head().draw(data)
    read = [
        pool_windows(ramp(boxes[v], flipped[v], (20, 24)), placed[v], (160, 192)) for v in (0, 1)
    ]
    # Away from the outermost half cell, where values are continued unchanged.
    inner = inside.clone()
    for v in (0, 1):
        inner &= (placed[v] > 4).all(-1) & (placed[v][..., 2] < 188) & (placed[v][..., 3] < 156)
    assert inner.sum() > 300
    assert (read[0] - read[1])[inner].abs().max() < 1e-5


def pretrainer(**kwargs):
    """Windows of P3 and P4, and an image head on C5."""
    objective = dict(type='densecl.WindowInfoNCE', temperature=0.3)
    window = dict(type='densecl.WindowHead', objective=objective, **kwargs)
    image = dict(
        type='densecl.ImageHead',
        projector=dict(type='densecl.MLP', channels=(512, 6)),
        objective=dict(type='densecl.InfoNCE', queue=8, dim=6),
    )
    return MomentumPretrainer(
        backbone=dict(type='densecl.TorchvisionResNet', arch='resnet18', out_indices=(0, 1, 2, 3)),
        neck=dict(type='densecl.PartialFPN', in_channels=(64, 128, 256, 512), out_channels=5),
        heads=dict(
            image=image,
            p4=dict(window, level=1, window=24, stride=16),
            p3=dict(window, level=0, window=16, stride=12),
        ),
    ).double()


def photos(seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(2, 3, 2, generator=generator) * 20
    data = views(
        [torch.cat([c, c + 60 + 30 * torch.rand(3, 2, generator=generator)], 1) for c in corner],
        [torch.tensor([False, True, False]), torch.tensor([True, True, False])],
        (64, 64),
    )
    data.images = list(torch.randn(2, 3, 3, 64, 64, generator=generator, dtype=torch.float64))
    return data


def written_out(query, key, placed, inside, overlapping, t=0.3):
    """Every window, place and image in turn."""
    rows, cell = [], 64 / key.shape[2]
    places = [[key[c, :, i : i + 3, j : j + 3].mean((1, 2)) for i in range(key.shape[2] - 2)
               for j in range(key.shape[3] - 2)] for c in range(len(key))]  # fmt: skip
    for b, w in inside.nonzero().tolist():
        mine, theirs = (mean_over(m[b], placed[v][b, w], (64, 64)) for v, m in enumerate((query, key)))
        x1, y1, x2, y2 = placed[1][b, w].tolist()
        logits = [F.cosine_similarity(mine, theirs, 0) / t]
        for c in range(len(key)):
            for number, place in enumerate(places[c]):
                i, j = divmod(number, key.shape[3] - 2)
                apart = j * cell >= x2 or (j + 3) * cell <= x1 or i * cell >= y2 or (i + 3) * cell <= y1
                if c != b or apart or overlapping:
                    logits.append(F.cosine_similarity(mine, place, 0) / t)
        rows.append(torch.stack(logits).logsumexp(0) - logits[0])
    return torch.stack(rows).mean()


@pytest.mark.parametrize('overlapping', [False, True])
def test_losses_and_gradients_written_out(overlapping):
    torch.manual_seed(0)
    model, data = pretrainer(overlapping=overlapping).eval(), photos()
    found = model.loss(data)
    queries = model.encode(data.images[0])
    with torch.no_grad():
        keys = model.encode_target(data.images[1])
    for name, level in (('p3', 0), ('p4', 1)):
        placed, inside = model.heads[name].draw(data)
        want = written_out(queries[level], keys[level], placed, inside, overlapping)
        torch.testing.assert_close(found[f'loss_{name}'], want)
        assert found[f'{name}_inside'] == inside.float().mean() and 0 < inside.sum() < inside.numel()
        parameters = list(model.neck.parameters())
        pairs = [
            torch.autograd.grad(x, parameters, allow_unused=True, retain_graph=True)
            for x in (found[f'loss_{name}'], want)
        ]
        for got, expected in zip(*pairs, strict=True):
            assert (got is None) == (expected is None)
            if got is not None:
                torch.testing.assert_close(got, expected)
    assert model.heads.p3.embeddings.shape == (3 * 16, 5)


def test_the_three_losses_reach_every_parameter():
    model = pretrainer().train()
    found = model.loss(photos())
    sum(value for name, value in found.items() if name.startswith('loss_')).backward()
    still = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert still == []


def test_no_window_is_shared():
    """Zero, and every parameter still gets its (zero) gradient: DistributedDataParallel waits for it."""
    model, data = pretrainer().train(), photos()
    data.boxes[1] = data.boxes[1] + 500
    found = model.loss(data)
    assert found['loss_p4'] == found['loss_p3'] == 0 and found['p4_inside'] == 0
    (found['loss_p4'] + found['loss_p3']).backward()
    assert all(p.grad is not None and (p.grad == 0).all() for p in model.neck.parameters())


def test_both_directions_have_windows_of_their_own():
    """The key's windows slide over the key view in the other direction; the loss is the mean."""
    torch.manual_seed(0)
    model, data = pretrainer(pairs=((0, 1), (1, 0))).eval(), photos()
    both = model.loss(data)['loss_p4']
    single = []
    for pair in ((0, 1), (1, 0)):
        model.heads.p4.pairs = (pair,)
        single.append(model.loss(data)['loss_p4'])
    torch.testing.assert_close(both, sum(single) / 2)


def test_a_projector_and_maps_smaller_than_the_neighbourhood():
    made = head(projector=dict(type='densecl.ConvMLP', channels=(2, 4)), window=8, stride=8)
    data = photos()
    branch = Given({v: (torch.randn(3, 2, 2, 2),) for v in (0, 1)})
    found = made.loss(branch, branch, data, made.projector)
    assert torch.isfinite(found['loss']) and made.embeddings.shape == (3 * 49, 4)


def test_errors():
    with pytest.raises(ValueError, match='stride must be at least 1, got 0'):
        head(stride=0)
    with pytest.raises(ValueError, match='does not fit into a view of 16 x 16'):
        head().draw(views([torch.rand(1, 4)] * 2, [torch.ones(1, dtype=torch.bool)] * 2, (16, 16)))
