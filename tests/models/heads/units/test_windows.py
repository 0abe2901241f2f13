"""Windows as units: what is negative, the whole loss of ReSim written out, windows that no view shares."""

import pytest
import torch
import torch.nn.functional as F
from oracles.pooling import mean_over

from densecl.datasets.transforms import Crop, DrawnView, SlidingWindows
from densecl.models.heads.units.windows import pooled_boxes
from densecl.models.pretrainers import MomentumPretrainer
from densecl.structures import Batch, ViewRegions
from densecl.structures.views import stack
from tests.models.heads.made import Fixed, build, views_of

SIDE = 64
WINDOWS = dict(p4=dict(window=24, stride=16), p3=dict(window=16, stride=12))


def pretrainer(overlapping=False, **kwargs):
    """Windows of P3 and P4, and a head of whole images on C5."""
    objective = dict(type='densecl.InfoNCE', temperature=0.3, queue=0, batch='others', mean='counted')
    places = dict(objective=objective | dict(overlapping=overlapping), **kwargs)
    image = dict(
        projector=dict(type='densecl.MLP', channels=(512, 6)),
        objective=dict(type='densecl.InfoNCE', queue=8, dim=6),
    )
    return MomentumPretrainer(
        backbone=dict(type='densecl.TorchvisionResNet', arch='resnet18', out_indices=(0, 1, 2, 3)),
        neck=dict(type='densecl.PartialFPN', in_channels=(64, 128, 256, 512), out_channels=5),
        heads=dict(
            image=image,
            p4=dict(places, units=dict(type='densecl.Windows', regions='p4', level=1)),
            p3=dict(places, units=dict(type='densecl.Windows', regions='p3', level=0)),
        ),
    ).double()


def photos(apart=0.0):
    """Three images whose two crops overlap in part; ``apart`` pixels lie between them in addition."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(2, 3, 2, generator=generator) * 20
    boxes = [torch.cat([c, c + 60 + 30 * torch.rand(3, 2, generator=generator)], 1) for c in corner]
    boxes[1] += apart
    flipped = [torch.tensor([False, True, False]), torch.tensor([True, True, False])]
    images = torch.randn(2, 3, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    regions = {name: slide(options, boxes, flipped) for name, options in WINDOWS.items()}
    return views_of(images, boxes, flipped, regions)


def slide(options, boxes, flipped):
    """What the data worker makes, image by image."""
    found = [
        SlidingWindows(**options).choose(
            {}, [DrawnView(Crop(tuple(b[i].tolist()), (SIDE, SIDE), bool(f[i])))
                 for b, f in zip(boxes, flipped, strict=True)]
        )
        for i in range(len(boxes[0]))
    ]  # fmt: skip
    return stack(found)


def written_out(query, key, regions, overlapping, t=0.3):
    """Every window, place and image in turn."""
    rows, cell, size = [], SIDE / key.shape[2], (SIDE, SIDE)
    places = [[key[c, :, i : i + 3, j : j + 3].mean((1, 2)) for i in range(key.shape[2] - 2)
               for j in range(key.shape[3] - 2)] for c in range(len(key))]  # fmt: skip
    for b, w in (regions[1].ids >= 0).nonzero().tolist():
        mine = mean_over(query[b], regions[0].boxes[b, w], size)
        theirs = mean_over(key[b], regions[1].boxes[b, w], size)
        x1, y1, x2, y2 = regions[1].boxes[b, w].tolist()
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
def test_resim_s_losses_and_gradients_written_out(overlapping):
    model, data = pretrainer(overlapping).eval(), photos()
    found = model.loss(data)
    queries = model.encode(data.images[0])
    with torch.no_grad():
        keys = model.encode_target(data.images[1])
    for name, level in (('p3', 0), ('p4', 1)):
        regions = data.regions[name]
        want = written_out(queries[level], keys[level], regions, overlapping)
        torch.testing.assert_close(found[f'loss_{name}'], want)
        inside = regions[1].ids >= 0
        assert found[f'{name}_matched'] == inside.float().mean() and 0 < inside.sum() < inside.numel()
        parameters = list(model.neck.parameters())
        pairs = [
            torch.autograd.grad(x, parameters, allow_unused=True, retain_graph=True)
            for x in (found[f'loss_{name}'], want)
        ]
        assert any(x is not None and x.abs().max() > 0 for x in pairs[0])
        for got, expected in zip(*pairs, strict=True):
            assert (got is None) == (expected is None)
            if got is not None:
                torch.testing.assert_close(got, expected)
    assert model.watched['p3'][0].shape == (3 * 16, 5)


def test_the_three_losses_reach_every_parameter():
    model = pretrainer().train()
    found = model.loss(photos())
    sum(value for name, value in found.items() if name.startswith('loss_')).backward()
    still = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert still == []


def test_no_window_is_shared():
    """Zero, and every parameter still gets its (zero) gradient: DistributedDataParallel waits for it."""
    model, data = pretrainer().train(), photos(apart=500)
    found = model.loss(data)
    assert found['loss_p4'] == found['loss_p3'] == 0 and found['p4_matched'] == 0
    (found['loss_p4'] + found['loss_p3']).backward()
    assert all(p.grad is not None and (p.grad == 0).all() for p in model.neck.parameters())


def test_both_directions_take_the_same_windows():
    """A window of view 0 answers its place in view 1, and the other way round; the loss is the mean."""
    model, data = pretrainer(pairs=((0, 1), (1, 0))).eval(), photos()
    with torch.no_grad():
        both = model.loss(data)['loss_p4']
        maps = [[encode(x)[1] for x in data.images] for encode in (model.encode, model.encode_target)]
        regions = data.regions['p4']
        backwards = [ViewRegions(r.boxes, regions[1].ids) for r in regions[::-1]]
        first = written_out(maps[0][0], maps[1][1], regions, False)
        second = written_out(maps[0][1], maps[1][0], backwards, False)
    torch.testing.assert_close(both, (first + second) / 2)


def test_a_projector_and_maps_smaller_than_the_neighbourhood():
    """A map of 2 x 2 cells is averaged whole: one further candidate an image, the view."""
    projector = dict(type='densecl.ConvMLP', channels=(2, 4))
    objective = dict(type='InfoNCE', queue=0, batch='others')
    head = build(dict(type='densecl.Windows', regions='p3'), objective, projector=projector)
    data, maps = photos(), torch.randn(2, 3, 2, 2, 2, dtype=torch.float64)
    branch = Fixed(*maps)
    found = head.loss(branch, branch, data, Batch.of(data), head.projector)
    assert torch.isfinite(found.loss)
    units = head.read(branch, head.projector, data, {1})[1]
    torch.testing.assert_close(units.others[:, 0], head.projector(maps[1]).mean((2, 3)))
    assert units.vectors.shape == (3, 16, 4) and units.others_boxes.tolist() == [[0, 0, SIDE, SIDE]]


def test_errors():
    with pytest.raises(ValueError, match='places must be at least 1, got 0'):
        build(dict(type='densecl.Windows', places=0))
    data = photos()
    data.regions = {'p4': data.regions['p4']}
    with pytest.raises(ValueError, match=r"no regions 'p3'.*type='SlidingWindows'.*it has \['p4'\]"):
        pretrainer().loss(data)
    with pytest.raises(ValueError, match="objective=InfoNCE needs places of the map.*take units='Windows'"):
        build('Cells', dict(type='InfoNCE', queue=0, batch='others'))


def test_what_pooled_places_cover():
    found = pooled_boxes((14, 14), (3, 3), (224, 224))
    assert found.shape == (144, 4)
    assert found[0].tolist() == [0, 0, 48, 48] and found[-1].tolist() == [176, 176, 224, 224]
    assert found[1].tolist() == [16, 0, 64, 48]
    assert pooled_boxes((2, 4), (2, 3), (20, 80)).tolist() == [[0, 0, 60, 20], [20, 0, 80, 20]]
