"""Triplets mined from a batch against loops."""

import pytest
import torch
import torch.nn.functional as F
from oracles.comparisons import compare
from oracles.contrast import answers_alike

from densecl.models.losses import Triplet
from densecl.models.losses import functional as L

LABELS = torch.tensor([0, 1, 0, -1, 0, 1, -1])


def leaf(*shape):
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def mined(q, p, negatives, mates, mining):
    """Positive and negative of one query, by distance."""

    def distance(x):
        return float((q - x).detach().norm())

    positive = max([p, *mates], key=distance)
    if not len(negatives):
        return positive, None
    farther = [n for n in negatives if distance(n) > distance(positive)]
    if mining == 'semi-hard':
        return positive, min(farther, key=distance) if farther else max(negatives, key=distance)
    return positive, min(negatives, key=distance)


@pytest.mark.parametrize('squared', [False, True])
@pytest.mark.parametrize('batch', ['keys', 'views'])
@pytest.mark.parametrize('labels', [False, True])
@pytest.mark.parametrize('mining', ['batch-hard', 'semi-hard'])
@pytest.mark.parametrize('rows', ['image', 'dense'])
def test_value_and_gradients(rows, mining, labels, batch, squared):
    count = 7 if rows == 'image' else 14
    query, positive = leaf(count, 3), leaf(count, 3)
    image_of, keys, queries = torch.arange(7), positive, query
    if rows == 'dense':
        image_of, keys, queries = image_of.repeat_interleave(2), leaf(7, 3), leaf(7, 3)
    pool = F.normalize(torch.cat([keys, queries] if batch == 'views' else [keys]), dim=1)
    images = torch.arange(len(pool)) % 7
    expected = []
    for i, image in enumerate(image_of.tolist()):
        q, p = F.normalize(query[i], dim=0), F.normalize(positive[i], dim=0)
        same = (LABELS[images] == LABELS[image]) & (LABELS[image] >= 0) & labels
        mates = pool[same & (images != image)]
        negatives = pool[~same & (images != image)]
        triplet = mined(q, p, negatives, mates, mining)
        expected.append(L.triplet_margin(q[None], *(x[None] for x in triplet), 0.5, squared))
    expected = torch.stack(expected).mean()
    objective = Triplet(margin=0.5, mining=mining, squared=squared, batch=batch)
    c = compare(query, positive, keys=keys, queries=queries, labels=LABELS)
    loss, diagnostics = objective.score(answers_alike(c) if labels else c)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-9)
    leaves = list({id(x): x for x in (query, positive, keys, queries)}.values())
    for mine, theirs in zip(
        torch.autograd.grad(loss, leaves, allow_unused=True),
        torch.autograd.grad(expected, leaves, allow_unused=True),
        strict=True,
    ):
        zero = torch.zeros((), dtype=torch.float64)
        mine, theirs = (zero if x is None else x for x in (mine, theirs))
        torch.testing.assert_close(mine.expand_as(theirs), theirs.expand_as(mine), rtol=0, atol=1e-9)
    assert 0 < float(diagnostics['active']) <= 1


def test_queries_without_negatives_add_nothing():
    query, positive = leaf(3, 4), leaf(3, 4)
    c = answers_alike(compare(query, positive, labels=torch.zeros(3, dtype=torch.int64)))
    for objective in (Triplet(), Triplet(mining='semi-hard')):
        loss, diagnostics = objective.score(c)
        assert loss == 0 and diagnostics['top1'] == 1
        gradients = torch.autograd.grad(loss, [query, positive])
        assert all((g == 0).all() for g in gradients)


def test_errors():
    with pytest.raises(ValueError, match="'batch-hard' or 'semi-hard', got 'soft'"):
        Triplet(mining='soft')
    with pytest.raises(ValueError, match='margin must be positive, got 0'):
        Triplet(margin=0)
    with pytest.raises(ValueError, match="'keys' or 'views', got 'units'"):
        Triplet(batch='units')


def test_queries_that_do_not_count_add_nothing_and_weights_multiply():
    c = compare(leaf(6, 4), leaf(6, 4), keys=leaf(3, 4), queries=leaf(3, 4))
    terms = []
    for r in range(6):
        c.match.valid = (torch.arange(6) == r).view(3, 2)
        terms.append(Triplet(margin=3.0).score(c)[0])
    c.match.valid, c.match.weight = None, torch.arange(6.0).double().view(3, 2)
    want = sum(r * term for r, term in enumerate(terms))
    torch.testing.assert_close(Triplet(margin=3.0).score(c)[0], want)
