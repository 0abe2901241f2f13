"""Whole images as units: MoCo written out, and the two ways of pooling."""

import pytest
import torch
import torch.nn.functional as F

from densecl.models.pretrainers import Branch
from densecl.structures import Batch
from tests.models.heads.made import CHANNELS, DIM, GRID, Fixed, build, make_views, maps, score, step
from tests.oracles.pooling import attention_pool

MLP = dict(type='densecl.MLP', channels=(CHANNELS, 7, DIM))
CONV = dict(type='densecl.ConvMLP', channels=(CHANNELS, 7, DIM), norm=True, bias=True)
MOCO = dict(type='densecl.InfoNCE', temperature=0.2, queue=11, dim=DIM)


def image(objective='densecl.Cosine', units=None, **kwargs):
    return build(dict(units or {}, type='densecl.Image'), objective, 'densecl.SameRow', **kwargs)


def test_moco():
    head, target = image(MOCO, projector=MLP), image(MOCO, projector=MLP).projector
    before = head.objective.queue.keys.clone()
    levels, views = maps(), make_views()
    result = step(head, levels, views, target)
    q, k = head.projector(levels[0].mean((2, 3))), target(levels[1].mean((2, 3))).detach()
    q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ before.T], 1) / 0.2
    want = F.cross_entropy(logits, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(result.loss, want, rtol=0, atol=1e-9)
    torch.testing.assert_close(head.objective.queue.keys, torch.cat([k, before[3:]]))
    wanted = [*head.projector.parameters(), levels[0]]
    for x, y in zip(*(torch.autograd.grad(loss, wanted) for loss in (result.loss, want)), strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-9)


def test_pixpro_s_instance_branch_projects_first_and_pools_afterwards():
    predictor = dict(type='densecl.ConvMLP', channels=(DIM, 7, DIM), norm=True, bias=True)
    both = ((0, 1), (1, 0))
    cells = dict(project='cells')
    head = image(units=cells, projector=CONV, predictor=predictor, pairs=both, loss_weight=4.0)
    target = image(units=cells, projector=CONV).projector
    a, b = levels = maps()
    result = score(head, levels, make_views(), target)
    expected = 0
    for x, y in ((a, b), (b, a)):
        p = head.predictor(head.projector(x)).mean((2, 3))
        expected = expected - 2 * F.cosine_similarity(p, target(y).mean((2, 3))).mean()
    torch.testing.assert_close(head.weight(0) * result.loss, expected)
    rows, valid = result.watched['']
    assert rows.shape == (3, DIM) and valid is None
    # With a nonlinear projector this is another vector than that of the pooled map.
    other = head.projector(a.mean((2, 3), keepdim=True))[..., 0, 0]
    assert not torch.allclose(head.projector(a).mean((2, 3)), other)


@pytest.mark.parametrize('project', ['pooled', 'cells'])
def test_the_record(project):
    projector = MLP if project == 'pooled' else CONV
    predictor = dict(projector, channels=(DIM, DIM))
    head = image(units=dict(project=project), projector=projector, predictor=predictor)
    levels, views = maps(), make_views()
    units = head.read(Fixed(*levels), head.projector, views, {1}, {1})[1]
    pooled = levels[1].mean((2, 3))
    z = head.projector(pooled) if project == 'pooled' else head.projector(levels[1])
    p = head.predictor(z)
    if project == 'cells':
        z, p = z.mean((2, 3)), p.mean((2, 3))
    for name, want in dict(vectors=z[:, None], predicted=p[:, None], pooled=z, pooled_predicted=p).items():
        torch.testing.assert_close(getattr(units, name), want)
    torch.testing.assert_close(units.features, pooled[:, None])
    assert not units.features.requires_grad and units.view == 1
    assert all(getattr(units, name) is None for name in ('valid', 'ids', 'place', 'embeddings', 'others'))


POOL = dict(type='densecl.AttentionPool2d', channels=(CHANNELS, DIM), grid=GRID, heads=1)


def test_a_projector_that_pools_is_given_the_map():
    head = image(units=dict(project='map'), projector=POOL, stop_gradient=True)
    a, b = levels = maps()
    result = score(head, levels, make_views())
    pooled = [
        torch.stack([attention_pool(level, head.projector.state_dict(), 1) for level in x]) for x in (a, b)
    ]
    torch.testing.assert_close(result.loss.double(), -F.cosine_similarity(*pooled).mean())
    units = head.read(Fixed(*levels), head.projector, make_views(), {0}, {})[0]
    torch.testing.assert_close(units.vectors[:, 0].double(), pooled[0])
    torch.testing.assert_close(units.features[:, 0], a.mean((2, 3)))


def test_who_pools_is_said_once():
    with pytest.raises(
        ValueError, match='AttentionPool2d pools a map by itself, but units=Image give it none'
    ):
        image(projector=POOL)
    with pytest.raises(ValueError, match="project='map'.* wants a projector that pools, not MLP"):
        image(units=dict(project='map'), projector=MLP)


def test_levels_and_a_probe_s_cut():
    shallow, deep = maps(), maps(channels=4, seed=5)
    branch = Fixed(*zip(shallow, deep, strict=True))
    views = make_views()
    for level, want in ((0, shallow), (-1, deep), (1, deep)):
        head = image(units=dict(level=level), pairs=((0, 1),))
        result = head.loss(branch, branch, views, Batch.of(views), head.projector)
        a, b = (x.mean((2, 3)) for x in want)
        torch.testing.assert_close(result.loss, -F.cosine_similarity(a, b).mean())
    detached = image(units=dict(level=0, detach=True), projector=MLP)
    result = detached.loss(branch, branch, views, Batch.of(views), detached.projector)
    result.loss.backward()
    assert all(x.grad is None for x in (*shallow, *deep))
    assert all(p.grad is not None for p in detached.projector.parameters())


def test_errors():
    with pytest.raises(ValueError, match="Image: project must be 'pooled', 'cells' or 'map', got 'both'"):
        image(units=dict(project='both'))
    head = image(units=dict(level=1))
    with pytest.raises(ValueError, match=r'units=Image wants a level that .* not return \(level 1 of 1\)'):
        score(head, maps(), make_views())


def test_an_error_of_the_backbone_itself_keeps_its_words():
    """Views are encoded when a head first asks for them, so the head sees what the backbone raises."""

    def encode(images):
        raise IndexError('index out of range in self')  # of an embedding, say

    views, head = make_views(), image(units=dict())
    branch = Branch(encode, views)
    with pytest.raises(IndexError, match='index out of range in self'):
        head.loss(branch, branch, views, Batch.of(views), head.projector)
