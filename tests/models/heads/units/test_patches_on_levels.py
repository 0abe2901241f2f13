"""Images and patches on several levels: DetCo's terms written out, and MoCo v2 as a special case."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from densecl.models.pretrainers import MomentumPretrainer
from densecl.structures import Batch
from tests.models.heads.made import Fixed, build, views_of

NAMES = ('c2', 'c3', 'c4', 'c5')
CHANNELS = (3, 4, 5, 6)
WEIGHTS = (0.1, 0.4, 0.7, 1.0)
BATCH, PATCHES, DIM, QUEUE = 3, 4, 5, 11
VIEWS = 2 + 2 * PATCHES
KINDS = [f'{kind}_{name}' for kind in ('global', 'local') for name in NAMES]
TERMS = {'g2g': ('global', 'global'), 'l2l': ('local', 'local'), 'l2g': ('local', 'global')}


class Asked(Fixed):
    """Knows which views it was asked for."""

    def __init__(self, *levels, **kwargs):
        super().__init__(*levels, joint=True, **kwargs)
        self.asked = set()

    def __getitem__(self, view):
        self.asked.add(view)
        return super().__getitem__(view)


def config(terms=tuple(TERMS), order='drawn', projector=None, objective=None):
    kinds = sorted({kind for term in terms for kind in TERMS[term]})
    levels = dict(zip(NAMES, range(4), strict=True))
    return dict(
        units=dict(type='densecl.Patches', patches=PATCHES, levels=levels, order=order),
        projector=dict(
            type='densecl.LevelProjectors', names=NAMES, channels=CHANNELS, out_channels=DIM, patches=PATCHES,
            kinds=kinds,
        ),
        objective=objective or dict(type='InfoNCE', temperature=0.2, queue=QUEUE, dim=DIM),
        pairs=[
            dict(
                query=(f'{TERMS[term][0]}_{name}', 0),
                key=(f'{TERMS[term][1]}_{name}', 1),
                weight=weight,
                name=f'{term}_{name}',
            )
            for name, weight in zip(NAMES, WEIGHTS, strict=True)
            for term in terms
        ],
    )  # fmt: skip


def make_head(**kwargs):
    return build(**config(**kwargs))


def make_views(count=VIEWS):
    """Patches of a 2x2 puzzle of 100 px images, in an order of their own for each image and side."""
    generator = torch.Generator().manual_seed(0)
    whole = torch.tensor([[0.0, 0, 100, 100]] * BATCH)
    boxes = [whole, whole]
    for _ in range((count - 2) // PATCHES):
        cells = torch.stack([torch.randperm(4, generator=generator) for _ in range(BATCH)])
        corners = torch.stack([cells % 2, cells // 2], -1) * 50.0
        corners += torch.randint(0, 10, corners.shape, generator=generator)
        boxes += torch.cat([corners, corners + 40], -1).unbind(1)
    return views_of([torch.zeros(BATCH, 3, 8, 8)] * count, boxes, indices=torch.arange(BATCH) + 20)


def make_levels(count=VIEWS, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple(
            torch.randn(BATCH, c, s, s, dtype=torch.float64, generator=generator).requires_grad_()
            for c, s in zip(CHANNELS, (8, 4, 2, 1), strict=True)
        )
        for _ in range(count)
    ]


def run(head, target, online, keys, views):
    """A step on given levels, or branches; the result."""
    online = online if isinstance(online, Fixed) else Fixed(*online, joint=True)
    keys = keys if isinstance(keys, Fixed) else Fixed(*keys, joint=True, gradient=False)
    batch = Batch.of(views)
    result = head.loss(online, keys, views, batch, target.projector)
    if head.training:
        head.remember(result.keys, batch)
    return result


def perceptron(mlp, x):
    hidden = (x @ mlp[0].weight.T + mlp[0].bias).clamp(min=0)
    return hidden @ mlp[2].weight.T + mlp[2].bias


def by_hand(head, target, online, keys, boxes, order):
    """name -> value of the twelve terms, one image and candidate at a time."""

    def vector(projector, levels, kind, level, first, image):
        if kind == 'global':
            x = levels[first][level][image].mean((1, 2))
            return perceptron(projector['global'][NAMES[level]], x)
        numbers = list(range(first, first + PATCHES))
        if order == 'image':
            numbers.sort(key=lambda v: (boxes[v][image, 1] // 50, boxes[v][image, 0] // 50))
        x = torch.cat([levels[v][level][image].mean((1, 2)) for v in numbers])
        return perceptron(projector['local'][NAMES[level]].together, x)

    found = {}
    for level, name in enumerate(NAMES):
        for term, (of_query, of_key) in TERMS.items():
            queue = head.objective[f'{of_key}_{name}'].queue.keys.clone()
            losses = []
            for image in range(BATCH):
                first = {'global': 0, 'local': 2}[of_query]
                q = vector(head.projector, online, of_query, level, first, image)
                first = {'global': 1, 'local': 2 + PATCHES}[of_key]
                k = vector(target, keys, of_key, level, first, image).detach()
                q, k = q / q.norm(), k / k.norm()
                scores = [math.e ** (q @ x / 0.2) for x in (k, *queue)]
                losses.append(-(scores[0] / sum(scores)).log())
            found[f'{term}_{name}'] = sum(losses) / BATCH
    return found


@pytest.mark.parametrize('order', ['drawn', 'image'])
def test_twelve_terms_of_detco(order):
    """Values and gradients: mean over images of -log(e^(q.k/t) / (e^(q.k/t) + sum over the queue))."""
    head, target = (make_head(order=order) for _ in range(2))
    online, keys, views = make_levels(), make_levels(seed=2), make_views()
    expected = by_hand(head, target.projector, online, keys, views.boxes, order)
    assert len(expected) == 12
    result = run(head, target, online, keys, views)
    for name, value in expected.items():
        torch.testing.assert_close(result.log[name], value.detach(), rtol=0, atol=1e-12)
    want = sum(
        weight * sum(expected[f'{term}_{name}'] for term in TERMS)
        for name, weight in zip(NAMES, WEIGHTS, strict=True)
    )
    torch.testing.assert_close(result.loss, want, rtol=0, atol=1e-12)
    leaves = [*head.projector.parameters(), *(x for v in (0, *range(2, 6)) for x in online[v])]
    for mine, theirs in zip(
        torch.autograd.grad(result.loss, leaves), torch.autograd.grad(want, leaves), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
    assert all(x.grad is None for levels in keys for x in levels)


def test_order_matters_and_the_puzzles_are_different_ones():
    """Both sides' patches count, each by its own view numbers."""
    online, keys, views = make_levels(), make_levels(seed=2), make_views()
    head, target = (make_head().eval() for _ in range(2))
    first = run(head, target, online, keys, views).log
    for side, levels in (('query', online), ('key', keys)):
        start = 2 if side == 'query' else 2 + PATCHES
        swapped = list(levels)
        swapped[start], swapped[start + 1] = levels[start + 1], levels[start]
        sides = (swapped, keys) if side == 'query' else (online, swapped)
        second = run(head, target, *sides, views).log
        assert torch.equal(first['g2g_c3'], second['g2g_c3'])
        assert not torch.equal(first['l2l_c3'], second['l2l_c3'])
        assert torch.equal(first['l2g_c3'], second['l2g_c3']) == (side == 'key')


def test_queues_learn_the_keys_once_and_after_all_terms():
    head, target = (make_head() for _ in range(2))
    keys, views = make_levels(seed=2), make_views()
    before = {name: objective.queue.keys.clone() for name, objective in head.objective.items()}
    assert sorted(before) == sorted(KINDS) == sorted(head.queues())
    run(head, target, make_levels(), keys, views)
    projected = target.read(Fixed(*keys), target.projector, views, {(kind, 1) for kind in KINDS})
    for name, objective in head.objective.items():
        assert int(objective.queue.enqueued) == BATCH
        assert objective.queue.images[:BATCH].tolist() == [20, 21, 22]
        wanted = F.normalize(projected[name, 1].vectors[:, 0], dim=1)
        torch.testing.assert_close(objective.queue.keys[:BATCH], wanted, rtol=0, atol=1e-12)
        assert torch.equal(objective.queue.keys[BATCH:], before[name][BATCH:])
    run(head.eval(), target, make_levels(), keys, views)
    assert all(int(objective.queue.enqueued) == BATCH for objective in head.objective.values())


@pytest.mark.parametrize(
    ('terms', 'projectors', 'queues', 'asked'),
    [
        (('g2g',), {'global'}, {'global'}, ({0}, {1})),
        (('l2l',), {'local'}, {'local'}, ({2, 3, 4, 5}, {6, 7, 8, 9})),
        (('l2g', 'g2g'), {'global', 'local'}, {'global'}, ({0, 2, 3, 4, 5}, {1})),
    ],
)
def test_any_subset_of_terms(terms, projectors, queues, asked):
    """Nothing more than the terms need is built, encoded or logged; values are those of all terms."""
    everything, target = (make_head().eval() for _ in range(2))
    some = make_head(terms=terms).eval()
    some.load_state_dict({k: v for k, v in everything.state_dict().items() if k in some.state_dict()})
    assert set(some.projector) == projectors
    assert {name.split('_')[0] for name in some.objective} == queues
    online, keys = Asked(*make_levels()), Asked(*make_levels(seed=2), gradient=False)
    result = run(some, target, online, keys, make_views())
    assert (online.asked, keys.asked) == asked
    assert some.needed(VIEWS) == {'online': asked[0], 'target': asked[1]}
    whole = run(everything, target, online, keys, make_views())
    logged = [name for name in result.log if name[:3] in TERMS]
    assert len(logged) == 4 * len(terms)
    assert all(torch.equal(result.log[name], whole.log[name]) for name in logged)
    assert {f'{what}_{name}' for what in ('pos_sim', 'top1') for name in logged} <= set(result.log)


def test_one_level_and_global_terms_are_moco_v2_to_the_last_bit():
    """Loss, log, gradients and queue over three steps of the real thing, norms and optimiser included."""

    def model(**head):
        torch.manual_seed(0)
        objective = dict(type='densecl.InfoNCE', temperature=0.2, queue=QUEUE, dim=DIM)
        return MomentumPretrainer(
            backbone=dict(type='densecl.TorchvisionFeatures', arch='resnet18', nodes=['layer2']),
            heads=dict(head=dict(objective=objective, **head)),
            momentum=0.9,
            bn_groups=2,
            shuffle_bn=True,
        ).train()

    moco = model(projector=dict(type='densecl.MLP', channels=(128, 128, DIM)))
    mine = model(
        units=dict(type='densecl.Patches', levels=dict(c5=-1)),
        pairs=[(('global_c5', 0), ('global_c5', 1))],
        projector=dict(
            type='densecl.LevelProjectors', names=['c5'], channels=(128,), out_channels=DIM, kinds=['global']
        ),
    )
    head, theirs = mine.heads['head'], moco.heads['head']
    mine.backbone.load_state_dict(moco.backbone.state_dict())
    head.projector['global']['c5'].load_state_dict(theirs.projector.state_dict())
    head.objective['global_c5'].load_state_dict(theirs.objective.state_dict())
    for m in (mine, moco):
        m.init_target()
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (mine, moco)]
    for step in range(3):
        views = views_of(list(torch.randn(2, 4, 3, 32, 32)))
        results = []
        for m, optimizer in zip((mine, moco), optimizers, strict=True):
            results.append(m.loss(views))
            optimizer.zero_grad()
            results[-1]['loss_head'].backward()
            optimizer.step()
            m.after_optimizer_step()
        assert set(results[0]) == set(results[1]) == {'loss_head', 'head_pos_sim', 'head_top1'}
        for what, value in results[0].items():
            assert torch.equal(value, results[1][what]), (step, what)
        for a, b in zip(mine.parameters(), moco.parameters(), strict=True):
            assert torch.equal(a, b) and (a.grad is None) == (b.grad is None)
            assert a.grad is None or torch.equal(a.grad, b.grad)
        queues = head.objective['global_c5'].queue, theirs.objective.queue
        assert torch.equal(queues[0].keys, queues[1].keys)


def test_every_view_is_encoded_once_and_patches_in_one_pass():
    names = ['c3', 'c5']
    pairs = [
        [(f'{TERMS[term][0]}_{name}', 0), (f'{TERMS[term][1]}_{name}', 1)] for name in names for term in TERMS
    ]
    detco = dict(
        units=dict(type='densecl.Patches', patches=PATCHES, levels=dict(c3=0, c5=1)),
        pairs=pairs,
        projector=dict(
            type='densecl.LevelProjectors',
            names=names,
            channels=(128, 512),
            out_channels=DIM,
            patches=PATCHES,
        ),
        objective=dict(type='densecl.InfoNCE', queue=QUEUE, dim=DIM),
    )
    model = MomentumPretrainer(
        backbone=dict(type='densecl.TorchvisionResNet', arch='resnet18', out_indices=(1, 3)),
        heads=dict(detco=detco),
        join_views=True,
    ).train()
    views = make_views()
    views.images = [torch.randn(BATCH, 3, *((64, 64) if v < 2 else (32, 32))) for v in range(VIEWS)]
    passes = {'online': [], 'target': []}
    for side, backbone in (('online', model.backbone), ('target', model.target.backbone)):
        backbone.register_forward_pre_hook(lambda _, x, side=side: passes[side].append(tuple(x[0].shape)))
    losses = model.loss(views)
    for found in passes.values():
        assert sorted(found) == [(BATCH, 3, 64, 64), (BATCH * PATCHES, 3, 32, 32)]
    losses['loss_detco'].backward()
    assert all(p.grad is not None for p in model.heads.parameters())
    assert set(model.target.heads['detco'].state_dict()) == set(model.heads['detco'].projector.state_dict())


def test_options_of_the_objective_reach_every_queue():
    objective = dict(type='InfoNCE', temperature=0.5, queue=7, dim=DIM, batch='keys', decoupled=True)
    head, target = (make_head(objective=objective) for _ in range(2))
    assert len(head.objective) == 8
    assert all(len(o.queue) == 7 and o.batch == 'keys' and o.decoupled for o in head.objective.values())
    assert run(head, target, make_levels(), make_levels(seed=2), make_views()).loss.isfinite()


def test_queries_are_watched_by_kind_and_level():
    head, target = (make_head() for _ in range(2))
    online, views = make_levels(), make_views()
    result = run(head, target, online, make_levels(seed=2), views)
    assert set(result.watched) == set(KINDS)
    wanted = perceptron(head.projector['global']['c4'], online[0][2].mean((2, 3)))
    torch.testing.assert_close(result.watched['global_c4'][0], wanted.detach())
    assert all(not rows.requires_grad and valid is None for rows, valid in result.watched.values())


def test_number_of_views_and_levels():
    head = make_head()
    for count in (2, 2 + PATCHES):
        with pytest.raises(ValueError, match=f'pairs need 10 views, the pipeline makes {count}'):
            head.needed(count)
    assert make_head(terms=('g2g',)).needed(2) == {'online': {0}, 'target': {1}}
    assert make_head(terms=('l2g',)).needed(6)['target'] == {1}
    levels = [levels[:1] for levels in make_levels()]
    with pytest.raises(ValueError, match='units=Patches wants a level that the backbone does not return'):
        run(head, head, levels, levels, make_views())


def test_a_batch_of_one_and_half_precision():
    """One image has the terms that it has among others; under bf16 the loss stays in float32."""
    head, target = (make_head().eval() for _ in range(2))
    one = [[tuple(x[:1] for x in levels) for levels in make_levels(seed=s)] for s in (1, 2)]
    views = make_views()
    single = replace(
        views,
        images=[x[:1] for x in views.images],
        boxes=[x[:1] for x in views.boxes],
        flipped=[x[:1] for x in views.flipped],
        indices=views.indices[:1],
        source_sizes=views.source_sizes[:1],
        paths=views.paths[:1],
    )
    exact = run(head, target, *one, single)
    repeated = [[tuple(x.expand(3, -1, -1, -1) for x in levels) for levels in side] for side in one]
    thrice = run(head, target, *repeated, views)
    for name in ('g2g_c2', 'l2l_c5', 'l2g_c3'):  # the mean of three equal images
        torch.testing.assert_close(exact.log[name], thrice.log[name], rtol=1e-9, atol=1e-9)
    head.float(), target.float()
    sides = [[tuple(x.bfloat16() for x in levels) for levels in side] for side in one]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        rough = run(head, target, *sides, single)
    assert rough.loss.dtype == torch.float32
    torch.testing.assert_close(rough.loss.double(), exact.loss.detach(), rtol=0.03, atol=0)
