"""Leopart: the foreground, attention of the class token, and the loss with its queue by loops."""

import copy

import pytest
import torch
from oracles import leopart as by_hand
from torch import nn

from densecl.models.backbones.timm import TimmViT
from densecl.models.heads.units import foreground_of
from densecl.models.losses.assignment import evenly_chosen
from densecl.registry import MODELS
from tests.models.heads.made import views_of

K, WIDTH, SIZE = 5, 6, 3


@pytest.mark.parametrize('shape', [(6, 7), (10, 10), (14, 14)])
@pytest.mark.parametrize('mass', [0.3, 0.6])
def test_the_foreground_is_that_of_loops(shape, mass):
    generator = torch.Generator().manual_seed(shape[0])
    saliency = torch.rand(6, *shape, generator=generator, dtype=torch.float64) ** 4
    found = foreground_of(saliency, mass, 0.6)
    want = torch.stack([by_hand.foreground(x, mass, 0.6) for x in saliency])
    assert torch.equal(found, want)
    assert 0.05 < found.float().mean() < mass


def test_specks_of_one_and_two_cells_are_no_foreground():
    maps = torch.zeros(3, 9, 9)
    maps[0, 1, 1] = maps[1, 2, 2] = maps[1, 3, 3] = 1  # one cell; two that touch in a corner
    for place in ((6, 6), (7, 7), (6, 8)):
        maps[(slice(None), *place)] = 1
    found = foreground_of(maps, 0.999, 0.1)
    assert found.flatten(1).sum(1).tolist() == [3, 3, 3] and found[:, 7, 7].all()


def test_no_saliency_is_no_foreground():
    assert not foreground_of(torch.zeros(2, 8, 8)).any()
    assert foreground_of(torch.rand(2, 2, 3).half()).shape == (2, 2, 3)


def test_attention_is_that_of_the_block():
    torch.manual_seed(0)
    options = dict(img_size=32, patch_size=8, embed_dim=12, depth=2, num_heads=3)
    model = TimmViT(output_attention=True, **options).double().eval()
    plain = TimmViT(**options).double().eval()
    plain.load_state_dict(model.state_dict())
    images, seen = torch.randn(2, 3, 32, 40, dtype=torch.float64), []
    block = plain.blocks[-1].attn
    block.fused_attn = False
    block.attn_drop.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    attention, *levels = model(images)
    for got, want in zip(levels, plain(images), strict=True):
        torch.testing.assert_close(got, want)
    assert attention.shape == (2, 3, 4, 5) and not attention.requires_grad
    torch.testing.assert_close(attention.flatten(2), seen[0][:, :, 0, 1:])


def test_attention_wants_added_positions():
    with pytest.raises(ValueError, match='vit_small_patch16_dinov3 has not both'):
        TimmViT('vit_small_patch16_dinov3', depth=1, output_attention=True)


@MODELS.register_module()
class Rough(nn.Module):
    """A backbone without batch statistics, whose maps have a quarter of the side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, WIDTH, 4, 4)

    def forward(self, x):
        return self.conv(x).tanh()


def three_crops(step=0, batch=4):
    """Two large crops and a small one; the last image's second crop shares nothing with the first."""
    generator = torch.Generator().manual_seed(step)
    near = 20 * torch.rand(3, batch, 2, generator=generator, dtype=torch.float64)
    far = near + 25 + 20 * torch.rand(3, batch, 2, generator=generator, dtype=torch.float64)
    boxes = torch.cat([near, far], 2)
    boxes[1, -1] += 100
    shapes = [(batch, 3, side, side) for side in (24, 24, 12)]
    images = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return views_of(images, boxes, torch.rand(3, batch, generator=generator) < 0.5)


def config(**units):
    return dict(
        units=dict(type='CellPrototypes', **{'foreground': 'norm', 'mass': 0.7, **units}),
        matching=dict(type='SharedGrid', size=SIZE, samples=2),
        projector=dict(type='PrototypeProjector', channels=(WIDTH, 4), prototypes=K),
        objective=dict(
            type='SwappedPrediction',
            queue=20,
            dim=4,
            queue_start=0,
            queue_units=3,
            mean='counted',
            assigned='all',
        ),
        pairs='crops',
    )


def build(**units):
    torch.manual_seed(0)
    heads = dict(clusters=config(**units))
    model = dict(type='densecl.MomentumPretrainer', backbone=dict(type='Rough'), heads=heads, momentum=0.9)
    model = MODELS.build(dict(model, join_views=True)).double()
    model.init_target()
    return model.train()


def loss_by_hand(model, views, queues):
    """Loss, and what enters the queues of both large crops."""
    student, teacher = model.heads['clusters'].projector, model.target.heads['clusters']
    total, entering = 0.0, []
    with torch.no_grad():
        prototypes = teacher.prototypes.weight / teacher.prototypes.weight.norm(dim=1, keepdim=True)
    where = [
        [(box.tolist(), bool(flip)) for box, flip in zip(views.boxes[v], views.flipped[v], strict=True)]
        for v in range(3)
    ]

    def scored(maps, projector, weight):
        embedded = projector.embed(maps.permute(0, 2, 3, 1).flatten(0, 2))
        return embedded, embedded @ weight.T

    for key in (0, 1):
        with torch.no_grad():
            maps = model.target.backbone(views.images[key])
            masks = torch.stack([by_hand.foreground(x.square().sum(0), 0.7, 0.6) for x in maps])
            embedded, scores = scored(maps, teacher, prototypes)
            earlier = queues[key]
            rows = scores if earlier is None else torch.cat([earlier @ prototypes.T, scores])
            codes = by_hand.codes(rows, 0.05, 3)[-len(scores) :]
            codes = codes.unflatten(0, (len(maps), *maps.shape[2:])).permute(0, 3, 1, 2)
            inside = [x[m.flatten()] for x, m in zip(embedded.chunk(len(maps)), masks, strict=True)]
            picked = [x[[(2 * j + 1) * len(x) // 6 for j in range(3)]] for x in inside if len(x)]
            entering.append(torch.cat(picked))
        for query in range(3):
            if query != key:
                maps = model.backbone(views.images[query])
                _, scores = scored(maps, student, student.prototypes.weight)
                scores = scores.unflatten(0, (len(maps), *maps.shape[2:])).permute(0, 3, 1, 2)
                pair = where[query], where[key]
                total = total + by_hand.prediction(scores, codes, masks, pair, SIZE, 2, 0.1) / 4
    return total, entering


def test_leopart_is_that_of_loops():
    """With a teacher of its own, and a queue that is full from the third step on."""
    model = build()
    with torch.no_grad():
        for p in model.target.parameters():
            p.add_(0.2 * torch.randn_like(p))
    stored, sizes = ([], []), []
    for step in range(4):
        views = three_crops(step)
        queues = [torch.cat(x)[-20:] if sum(map(len, x)) >= 20 else None for x in stored]
        sizes.append(queues[0] is not None)
        model.heads['clusters'].projector.prototypes.normalize_()  # as the head does first
        twin = copy.deepcopy(model)
        want, entering = loss_by_hand(twin, views, queues)
        losses = model(views, mode='loss')
        torch.testing.assert_close(losses['loss_clusters'], want, rtol=1e-6, atol=1e-9)
        losses['loss_clusters'].backward()
        want.backward()
        for (name, p), q in zip(model.named_parameters(), twin.parameters(), strict=True):
            if p.requires_grad:
                torch.testing.assert_close(p.grad, q.grad, rtol=1e-5, atol=1e-8, msg=name)
                p.grad = None
        for kept, new in zip(stored, entering, strict=True):
            kept.append(new)
    assert sizes == [False, False, True, True]
    assert 0 < losses['clusters_foreground'] < 0.7


def test_without_foreground_all_cells_answer():
    model, views = build(foreground=None), three_crops()
    losses = model(views, mode='loss')
    assert 'clusters_foreground' not in losses
    assert losses['clusters_matched'] > build()(views, mode='loss')['clusters_matched'] > 0


def test_an_image_without_foreground_and_a_batch_without_any():
    model, views = build(), three_crops()
    with torch.no_grad():
        model.target.backbone.conv.weight.zero_()
        model.target.backbone.conv.bias.zero_()
    before = model.heads['clusters'].objective.queues[0].keys.clone()
    loss = model(views, mode='loss')['loss_clusters']
    loss.backward()
    assert loss == 0 and all(p.grad is None or not p.grad.any() for p in model.parameters())
    queue = model.heads['clusters'].objective.queues[0]
    assert torch.equal(queue.keys, before) and int(queue.enqueued) == 0


def test_rows_are_spread_over_those_that_count():
    rows = torch.arange(8.0)[None, :, None].expand(3, -1, 1)
    valid = torch.tensor([[1] * 8, [0, 1, 0, 1, 1, 0, 0, 0], [0] * 8], dtype=torch.bool)
    chosen, found = evenly_chosen(rows, valid, 4)
    assert chosen[:2, :, 0].tolist() == [[1, 3, 5, 7], [1, 3, 3, 4]]
    assert found.tolist() == [[True] * 4, [True] * 4, [False] * 4]
    assert torch.equal(evenly_chosen(rows, None, 8)[0], rows)


def test_a_resumed_queue_goes_on():
    model, other = build(), build()
    model(three_crops(), mode='loss')
    other.load_state_dict(model.state_dict())
    found = [m(three_crops(1), mode='loss')['loss_clusters'] for m in (model, other)]
    assert torch.equal(*found)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    model, views = build().float(), three_crops()
    views.images = [x.float() for x in views.images]
    want = model(views, mode='loss')['loss_clusters']
    with torch.autocast('cpu', dtype):
        loss = model(views, mode='loss')['loss_clusters']
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, want, rtol=0.05, atol=0)
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_wrong_settings_are_named():
    for units, text in (
        (dict(foreground='saliency'), "foreground must be None, 'attention' or 'norm'"),
        (dict(mass=0), 'mass must lie in'),
    ):
        with pytest.raises(ValueError, match=text):
            build(**units)
    with pytest.raises(ValueError, match='set backbone.output_attention=True'):
        build(foreground='attention')(three_crops(), mode='loss')


def test_where_a_foreground_would_be_ignored_it_is_refused():
    model = dict(type='densecl.SharedPretrainer', backbone=dict(type='Rough'))
    with pytest.raises(ValueError, match=r'units\.foreground is taken of a branch without gradient'):
        MODELS.build(dict(model, heads=dict(clusters=config())))
    MODELS.build(dict(model, heads=dict(clusters=config(foreground=None))))
    whole = dict(config(), objective='VICReg', pairs=((0, 1),))
    with pytest.raises(ValueError, match='VICReg'):
        MODELS.build(dict(model, type='densecl.MomentumPretrainer', heads=dict(clusters=whole)))
    MODELS.build(dict(whole, type='densecl.Head', units=dict(type='CellPrototypes')))
