"""FNC's elimination and attraction against loops."""

import pytest
import torch
import torch.nn.functional as F
from oracles.comparisons import compare
from oracles.per_image import loss_of_one, similar_images

from densecl.models.losses import InfoNCE, kernel
from densecl.models.losses.candidates import Candidates
from densecl.registry import MODELS

T, TOP, THRESHOLD = 0.3, 3, 0.1


def build(treatment='elimination', **kwargs):
    negatives = dict(type='densecl.SimilarImages', top=TOP, threshold=THRESHOLD, treatment=treatment)
    objective = InfoNCE(temperature=T, negatives=negatives, **kwargs).double()
    if objective.queue is not None:
        objective.queue.keys.copy_(F.normalize(objective.queue.keys, dim=1))
    return objective


def leaf(*shape):
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize('support', [0, 4])
@pytest.mark.parametrize('treatment', ['elimination', 'attraction'])
@pytest.mark.parametrize('rows', ['image', 'dense'])
def test_value_and_gradients(monkeypatch, rows, treatment, support):
    monkeypatch.setitem(kernel.TILE, 'cpu', 20)
    count = 5 if rows == 'image' else 15
    query, positive = leaf(count, 4), leaf(count, 4)
    image_of, keys, queries = torch.arange(5), positive, query
    support = torch.randn(support, 5, 4).double() if support else None
    if rows == 'dense':
        image_of, keys, queries = image_of.repeat_interleave(3), leaf(5, 4), leaf(5, 4)
    objective = build(treatment, queue=8, dim=4, batch='views')
    pool = torch.cat([objective.queue.keys, F.normalize(keys, dim=1), F.normalize(queries, dim=1)])
    images = torch.cat([torch.full((8,), -1), torch.arange(5), torch.arange(5)])
    expected, numbers = [], []
    for i in range(count):
        image = int(image_of[i])
        views = [keys[image], queries[image]]
        views += [] if support is None else list(support[:, image])
        views = [v.detach() for v in views]
        found = similar_images(views, pool.detach(), images, image, TOP, THRESHOLD)
        numbers.append(len(found))
        q, p = F.normalize(query[i], dim=0), F.normalize(positive[i], dim=0)
        negatives = [c for c in range(len(pool)) if images[c] != image]
        expected.append(loss_of_one(q, p, pool, negatives, found, treatment, T))
    assert sum(numbers) > 0 and max(numbers) <= TOP
    expected = torch.stack(expected).mean()
    loss, _ = objective.score(compare(query, positive, None, keys, queries, support))
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-9)
    leaves = list({id(x): x for x in (query, positive, keys, queries)}.values())
    for mine, theirs in zip(
        torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)


def test_support_views_find_what_the_main_views_miss():
    """Query and key of image 0 are far from image 1, a support view of it is not."""
    eye = torch.eye(4, dtype=torch.float64)
    query = positive = eye[[0, 1, 2]]
    support = eye[[1, 3, 3]][None]
    objective = build(queue=0, batch='keys')
    without, _ = objective.score(compare(query, positive))
    with_support, _ = objective.score(compare(query, positive, support=support))
    e = torch.tensor(1 / T, dtype=torch.float64).exp()
    torch.testing.assert_close(without, torch.log((e + 2) / e))
    torch.testing.assert_close(with_support, (2 * torch.log((e + 2) / e) + torch.log((e + 1) / e)) / 3)


def test_own_views_never_count_and_nothing_similar_changes_nothing():
    query = positive = torch.eye(4, dtype=torch.float64)
    for treatment in ('elimination', 'attraction'):
        loss, _ = build(treatment, queue=0, batch='views').score(compare(query, positive))
        plain, _ = InfoNCE(temperature=T, queue=0, batch='views').score(compare(query, positive))
        torch.testing.assert_close(loss, plain)


def test_a_mass_of_those_that_are_left():
    query, positive = leaf(5, 4), leaf(5, 4)
    keys = F.normalize(positive, dim=1)
    mass = dict(type='densecl.Debiased', prior=0.1)
    similar = dict(type='densecl.SimilarImages', top=1, threshold=-1.0)
    objective = InfoNCE(temperature=T, queue=0, batch='keys', negatives=[similar, mass])
    loss, _ = objective.score(compare(query, positive))
    expected = []
    for i, q in enumerate(F.normalize(query, dim=1)):
        own = torch.stack([keys @ q, keys @ keys[i]]).amax(0)
        own[i] = -1e9
        rest = [j for j in range(5) if j not in (i, int(own.argmax()))]
        p, n = (q @ keys[i] / T).exp(), (keys[rest] @ q / T).exp().sum()
        mass = torch.clamp((n - 0.1 * 3 * p) / 0.9, min=3 * torch.tensor(-1 / T).exp())
        expected.append(-torch.log(p / (p + mass)))
    torch.testing.assert_close(loss, torch.stack(expected).mean(), rtol=0, atol=1e-9)


def test_errors():
    with pytest.raises(ValueError, match="'elimination' or 'attraction', got 'love'"):
        build('love')
    with pytest.raises(ValueError, match='got 0 and 0.7'):
        InfoNCE(negatives=dict(type='densecl.SimilarImages', top=0))


def test_keys_that_no_view_shows_take_no_place():
    """Of two candidates like the image the first is none: with top=1 the second is found."""
    eye = torch.eye(4, dtype=torch.float64)
    there = torch.tensor([0, 1, 1])
    candidates = Candidates(eye[[0, 0, 1]], there=there)
    part = MODELS.build(dict(type='SimilarImages', top=1))
    assert part.search([eye[:1]], candidates, torch.tensor([0])).tolist() == [[1]]
