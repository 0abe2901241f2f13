"""DetCo's head against its terms written out, and MoCo v2 as its special case."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from densecl.models.heads import ImageHead, MultiLevelHead
from densecl.models.pretrainers import MomentumPretrainer
from densecl.structures import Views

NAMES = ('c2', 'c3', 'c4', 'c5')
CHANNELS = (3, 4, 5, 6)
WEIGHTS = (0.1, 0.4, 0.7, 1.0)
BATCH, PATCHES, DIM, QUEUE = 3, 4, 5, 11
VIEWS = 2 + 2 * PATCHES


class Fixed:
    """A branch whose levels are given."""

    joint = True

    def __init__(self, levels):
        self.levels = levels
        self.asked = set()

    def __getitem__(self, view):
        self.asked.add(view)
        return self.levels[view]


def config(**kwargs):
    return {
        'levels': (0, 1, 2, 3),
        'names': NAMES,
        'projector': dict(
            type='densecl.LevelProjectors', channels=CHANNELS, out_channels=DIM, patches=PATCHES
        ),
        'objective': dict(type='densecl.InfoNCE', temperature=0.2, queue=QUEUE, dim=DIM),
        **kwargs,
    }


def make_views(count=VIEWS, seed=0):
    """Patches of a 2x2 puzzle of 100 px images, in an order of their own for each image and side."""
    generator = torch.Generator().manual_seed(seed)
    whole = torch.tensor([[0.0, 0, 100, 100]] * BATCH)
    boxes = [whole, whole]
    for _ in range((count - 2) // PATCHES):
        cells = torch.stack([torch.randperm(4, generator=generator) for _ in range(BATCH)])
        corners = torch.stack([cells % 2, cells // 2], -1) * 50.0
        corners += torch.randint(0, 10, corners.shape, generator=generator)
        boxes += torch.cat([corners, corners + 40], -1).unbind(1)
    return Views(
        images=[torch.zeros(BATCH, 3, 8, 8)] * count,
        boxes=boxes,
        flipped=[torch.zeros(BATCH, dtype=torch.bool)] * count,
        source_sizes=torch.full((BATCH, 2), 100.0),
        indices=torch.arange(BATCH) + 20,
        paths=[''] * BATCH,
        photometric=[None] * count,
    )


def make_levels(count=VIEWS, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [
        tuple(
            torch.randn(BATCH, c, s, s, dtype=torch.float64, generator=generator).requires_grad_()
            for c, s in zip(CHANNELS, (8, 4, 2, 1), strict=True)
        )
        for _ in range(count)
    ]


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

    terms = {'g2g': ('global', 'global'), 'l2l': ('local', 'local'), 'l2g': ('local', 'global')}
    found = {}
    for level, name in enumerate(NAMES):
        for term, (of_query, of_key) in terms.items():
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
def test_twelve_terms(order):
    """Values and gradients: mean over images of -log(e^(q.k/t) / (e^(q.k/t) + sum over the queue))."""
    head, target = (MultiLevelHead(**config(order=order)).double() for _ in range(2))
    online, keys, views = make_levels(), make_levels(seed=2), make_views()
    expected = by_hand(head, target.projector, online, keys, views.boxes, order)
    assert len(expected) == 12
    result = head.loss(Fixed(online), Fixed(keys), views, target.projector)
    for name, value in expected.items():
        torch.testing.assert_close(result[name], value.detach(), rtol=0, atol=1e-12)
    want = sum(
        weight * sum(expected[f'{term}_{name}'] for term in ('g2g', 'l2l', 'l2g'))
        for name, weight in zip(NAMES, WEIGHTS, strict=True)
    )
    torch.testing.assert_close(result['loss'], want, rtol=0, atol=1e-12)
    leaves = [*head.projector.parameters(), *(x for v in (0, *range(2, 6)) for x in online[v])]
    for mine, theirs in zip(
        torch.autograd.grad(result['loss'], leaves), torch.autograd.grad(want, leaves), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
    assert all(x.grad is None for levels in keys for x in levels)


def test_order_matters_and_the_puzzles_are_different_ones():
    """Both sides' patches count, each by its own view numbers."""
    online, keys, views = make_levels(), make_levels(seed=2), make_views()
    head, target = (MultiLevelHead(**config()).double().eval() for _ in range(2))
    first = head.loss(Fixed(online), Fixed(keys), views, target.projector)
    for side, levels in (('query', online), ('key', keys)):
        start = 2 if side == 'query' else 2 + PATCHES
        swapped = list(levels)
        swapped[start], swapped[start + 1] = levels[start + 1], levels[start]
        sides = (swapped, keys) if side == 'query' else (online, swapped)
        second = head.loss(*map(Fixed, sides), views, target.projector)
        assert torch.equal(first['g2g_c3'], second['g2g_c3'])
        assert not torch.equal(first['l2l_c3'], second['l2l_c3'])
        assert torch.equal(first['l2g_c3'], second['l2g_c3']) == (side == 'key')


def test_queues_learn_the_keys_once_and_after_all_terms():
    head, target = (MultiLevelHead(**config()).double() for _ in range(2))
    keys, views = make_levels(seed=2), make_views()
    before = {name: objective.queue.keys.clone() for name, objective in head.objective.items()}
    assert list(before) == [f'{kind}_{name}' for kind in ('global', 'local') for name in NAMES]
    head.loss(Fixed(make_levels()), Fixed(keys), views, target.projector)
    projected = target.units(
        Fixed(keys), target.projector, views, {'global': [1], 'local': [6, 7, 8, 9]}
    )
    for name, objective in head.objective.items():
        assert int(objective.queue.enqueued) == BATCH
        assert objective.queue.images[:BATCH].tolist() == [20, 21, 22]
        wanted = F.normalize(projected[name], dim=1)
        torch.testing.assert_close(objective.queue.keys[:BATCH], wanted, rtol=0, atol=1e-12)
        assert torch.equal(objective.queue.keys[BATCH:], before[name][BATCH:])
    head.eval()
    head.loss(Fixed(make_levels()), Fixed(keys), views, target.projector)
    assert all(int(objective.queue.enqueued) == BATCH for objective in head.objective.values())


@pytest.mark.parametrize(
    ('terms', 'projectors', 'queues', 'asked'),
    [
        (('global',), {'global'}, {'global'}, ({0}, {1})),
        (('local',), {'local'}, {'local'}, ({2, 3, 4, 5}, {6, 7, 8, 9})),
        (('local_to_global', 'global'), {'global', 'local'}, {'global'}, ({0, 2, 3, 4, 5}, {1})),
    ],
)
def test_any_subset_of_terms(terms, projectors, queues, asked):
    """Nothing more than the terms need is built, encoded or logged; values are those of all terms."""
    everything, target = (MultiLevelHead(**config()).double().eval() for _ in range(2))
    some = MultiLevelHead(**config(terms=terms)).double().eval()
    some.load_state_dict(everything.state_dict(), strict=False)
    assert set(some.projector) == projectors
    assert {name.split('_')[0] for name in some.objective} == queues
    online, keys = Fixed(make_levels()), Fixed(make_levels(seed=2))
    result = some.loss(online, keys, make_views(), target.projector)
    assert (online.asked, keys.asked) == asked
    assert some.needed(VIEWS) == {'online': asked[0], 'target': asked[1]}
    whole = everything.loss(online, keys, make_views(), target.projector)
    logged = [name for name in result if name[:3] in ('g2g', 'l2l', 'l2g')]
    assert len(logged) == 4 * len(terms)
    assert all(torch.equal(result[name], whole[name]) for name in logged)
    assert {f'{what}_{name}' for what in ('pos_sim', 'top1') for name in NAMES} <= set(result)


def test_a_projector_that_only_keys_pass_needs_shared_weights():
    """The average of what is never trained stays at random weights; DDP would wait for its gradient."""
    head, target = (MultiLevelHead(**config(terms=('local', 'local_to_global'))).double() for _ in range(2))
    both = Fixed(make_levels())
    assert head.needed(VIEWS) == {'online': set(range(2, 6)), 'target': {1, 6, 7, 8, 9}}
    head.loss(both, both, make_views(), head.projector)['loss'].backward()
    assert all(p.grad is not None for p in head.parameters())
    with pytest.raises(ValueError, match="no query trains.*add 'global' to terms"):
        head.loss(both, Fixed(make_levels(seed=2)), make_views(), target.projector)


def test_one_level_and_global_terms_are_moco_v2_to_the_last_bit():
    """Loss, log, gradients and queue over three steps of the real thing, norms and optimiser included."""

    def model(head):
        torch.manual_seed(0)
        objective = dict(type='densecl.InfoNCE', temperature=0.2, queue=QUEUE, dim=DIM)
        return MomentumPretrainer(
            backbone=dict(type='densecl.TorchvisionFeatures', arch='resnet18', nodes=['layer2']),
            heads=dict(head=dict(objective=objective, **head)),
            momentum=0.9,
            bn_groups=2,
            shuffle_bn=True,
        ).train()

    moco = model(
        dict(type='densecl.ImageHead', projector=dict(type='densecl.MLP', channels=(128, 128, DIM)))
    )
    mine = model(
        dict(
            type='densecl.MultiLevelHead',
            levels=(-1,),
            weights=(1.0,),
            terms=('global',),
            projector=dict(type='densecl.LevelProjectors', channels=(128,), out_channels=DIM),
        )
    )
    head, theirs = mine.heads['head'], moco.heads['head']
    assert type(theirs) is ImageHead
    mine.backbone.load_state_dict(moco.backbone.state_dict())
    head.projector['global']['-1'].load_state_dict(theirs.projector.state_dict())
    head.objective['global_-1'].load_state_dict(theirs.objective.state_dict())
    for m in (mine, moco):
        m.init_target()
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (mine, moco)]
    for step in range(3):
        views = make_views(2)
        views.images = list(torch.randn(2, 4, 3, 32, 32))
        views.indices = torch.arange(4)
        results = []
        for m, optimizer in zip((mine, moco), optimizers, strict=True):
            results.append(m.loss(views))
            optimizer.zero_grad()
            results[-1]['loss_head'].backward()
            optimizer.step()
            m.after_optimizer_step()
        assert torch.equal(results[0]['loss_head'], results[1]['loss_head']), step
        assert torch.equal(results[0]['head_pos_sim_-1'], results[1]['head_pos_sim'])
        assert torch.equal(results[0]['head_top1_-1'], results[1]['head_top1'])
        pairs = zip(mine.parameters(), moco.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        for a, b in zip(mine.parameters(), moco.parameters(), strict=True):
            assert (a.grad is None) == (b.grad is None)
            assert a.grad is None or torch.equal(a.grad, b.grad)
        queues = head.objective['global_-1'].queue, theirs.objective.queue
        assert torch.equal(queues[0].keys, queues[1].keys)


def test_every_view_is_encoded_once_and_patches_in_one_pass():
    model = MomentumPretrainer(
        backbone=dict(type='densecl.TorchvisionResNet', arch='resnet18', out_indices=(1, 3)),
        heads=dict(
            detco=dict(
                type='densecl.MultiLevelHead',
                levels=(0, 1),
                weights=(0.5, 1.0),
                projector=dict(
                    type='densecl.LevelProjectors', channels=(128, 512), out_channels=DIM, patches=PATCHES
                ),
                objective=dict(type='densecl.InfoNCE', queue=QUEUE, dim=DIM),
            )
        ),
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
    assert set(model.target.heads['detco'].state_dict()) == set(
        model.heads['detco'].projector.state_dict()
    )


def test_options_of_the_objective_reach_every_queue():
    objective = dict(
        type='densecl.InfoNCE',
        temperature=0.5,
        queue=7,
        dim=DIM,
        batch='keys',
        positives=dict(type='Decoupled'),
    )
    head, target = (MultiLevelHead(**config(objective=objective)).double() for _ in range(2))
    assert len(head.objective) == 8
    assert all(len(o.queue) == 7 and o.batch == 'keys' for o in head.objective.values())
    result = head.loss(Fixed(make_levels()), Fixed(make_levels(seed=2)), make_views(), target.projector)
    assert result['loss'].isfinite()


def test_embeddings_are_the_queries_by_kind_and_level():
    head, target = (MultiLevelHead(**config()).double() for _ in range(2))
    online, views = make_levels(), make_views()
    head.loss(Fixed(online), Fixed(make_levels(seed=2)), views, target.projector)
    assert set(head.embeddings) == {f'{kind}_{name}' for kind in ('global', 'local') for name in NAMES}
    wanted = perceptron(head.projector['global']['c4'], online[0][2].mean((2, 3)))
    torch.testing.assert_close(head.embeddings['global_c4'], wanted.detach())
    assert not any(x.requires_grad for x in head.embeddings.values())


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(weights=(1.0,)), r'every level needs a weight.*weights \(1.0,\)'),
        (dict(names=('a', 'a', 'b', 'c')), 'a name of its own'),
        (dict(terms=('g2g',)), r"terms must be some of \('global'.*got \('g2g',\)"),
        (dict(terms=()), 'terms must be some of'),
        (dict(order='x'), "order must be one of .*got 'x'"),
        (dict(objective=dict(type='densecl.NegativeCosine')), "InfoNCE.*got NegativeCosine"),
        (
            dict(projector=dict(type='densecl.LevelProjectors', channels=(3, 4))),
            r'channels \(3, 4\) must have one number for each of the levels',
        ),
        (
            dict(projector=dict(type='densecl.LevelProjectors', channels=CHANNELS, hidden=(4, 4))),
            r'hidden \(4, 4\) must be a number, or one for each of the 4 levels',
        ),
    ],
)
def test_refusals(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MultiLevelHead(**config(**kwargs))


def test_number_of_views_and_levels():
    head = MultiLevelHead(**config())
    for count in (2, 2 + PATCHES, 20):
        with pytest.raises(ValueError, match=f'are 10 views, 10 of which.*pipeline makes {count}'):
            head.needed(count)
    assert MultiLevelHead(**config(terms=('global',))).needed(2) == {'online': {0}, 'target': {1}}
    assert MultiLevelHead(**config(terms=('local_to_global',))).needed(6)['target'] == {1}
    branch = Fixed([levels[:1] for levels in make_levels()])
    with pytest.raises(ValueError, match='level 1 is wanted, the backbone returns 1 level'):
        head.double().loss(branch, branch, make_views(), head.projector)


def test_a_batch_of_one_and_half_precision():
    """One image has the terms that it has among others; under bf16 the loss stays in float32."""
    head, target = (MultiLevelHead(**config()).double().eval() for _ in range(2))
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
    exact = head.loss(Fixed(one[0]), Fixed(one[1]), single, target.projector)
    repeated = [[tuple(x.expand(3, -1, -1, -1) for x in levels) for levels in side] for side in one]
    thrice = head.loss(Fixed(repeated[0]), Fixed(repeated[1]), views, target.projector)
    for name in ('g2g_c2', 'l2l_c5', 'l2g_c3'):  # the mean of three equal images
        torch.testing.assert_close(exact[name], thrice[name], rtol=1e-9, atol=1e-9)
    head.float(), target.float()
    sides = [Fixed([tuple(x.bfloat16() for x in levels) for levels in side]) for side in one]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        rough = head.loss(*sides, single, target.projector)
    assert rough['loss'].dtype == torch.float32
    torch.testing.assert_close(rough['loss'].double(), exact['loss'].detach(), rtol=0.03, atol=0)
