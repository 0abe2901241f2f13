"""BYOL, SimSiam, PixPro, SoCo and SCRL against loops over pairs."""

import math

import pytest
import torch

from densecl.models.losses import Cosine
from densecl.structures import Batch, Comparison, Match, Units


def cosine(x, y):
    return float(x @ y) / math.sqrt(float((x * x).sum()) * float((y * y).sum()))


@pytest.fixture
def cells():
    generator = torch.Generator().manual_seed(0)
    query, keys = torch.randn(2, 4, 6, 5, generator=generator, dtype=torch.float64).unbind()
    answers = torch.rand(4, 6, 6, generator=generator) < 0.4
    answers[0], answers[1, 2] = False, False  # an image and a cell without any
    return query, keys, answers


def loops(query, keys, answers, squared, mean):
    """Each pair's term; then as each official code divides."""
    images = []
    for q, k, mask in zip(query, keys, answers, strict=True):
        rows = [[cosine(q[i], k[j]) for j in mask[i].nonzero().flatten().tolist()] for i in range(len(q))]
        images.append([[2 - 2 * c if squared else -c for c in row] for row in rows])
    if mean == 'images':
        pairs = [sum(image, []) for image in images]
        return sum(sum(p) / len(p) for p in pairs if p) / len(images)
    means = [sum(row) / len(row) for image in images for row in image if row]
    return sum(means) / (answers.shape[0] * answers.shape[1] if mean == 'rows' else len(means))


@pytest.mark.parametrize('squared', [False, True])
@pytest.mark.parametrize('mean', ['rows', 'counted', 'images'])
def test_value_and_gradient(cells, squared, mean):
    query, keys, answers = cells
    query = query.requires_grad_()
    loss, found = Cosine(squared, mean).score(Comparison.of_sets(query, keys, answers))
    want = loops(query.detach(), keys, answers, squared, mean)
    assert loss.item() == pytest.approx(want, rel=1e-12)
    loss.backward()
    assert (query.grad[0] == 0).all() and (query.grad[1, 2] == 0).all()
    assert (query.grad[1, 3] != 0).any() and not found['pos_sim'].requires_grad
    dot = (query.grad * query).sum(-1)
    torch.testing.assert_close(dot, torch.zeros_like(dot))  # tangent to the sphere


def test_pos_sim_is_of_what_counts(cells):
    query, keys, answers = cells
    every = Comparison.of_sets(query, keys, answers)
    _, found = Cosine(mean='images').score(every)
    with_pairs = answers.flatten(1).any(1)
    want = -loops(query[with_pairs], keys[with_pairs], answers[with_pairs], False, 'images')
    assert found['pos_sim'].item() == pytest.approx(want, rel=1e-12)
    for mean in ('rows', 'counted'):
        _, found = Cosine(squared=True, mean=mean).score(every)
        want = -loops(query, keys, answers, False, 'counted')
        assert found['pos_sim'].item() == pytest.approx(want, rel=1e-12)


def test_index_and_mask_agree(cells):
    query, keys, _ = cells
    index = torch.randint(0, 6, (4, 6))
    mask = torch.nn.functional.one_hot(index, 6).bool()
    for mean in ('rows', 'counted', 'images'):
        values = [Cosine(mean=mean).score(Comparison.of_sets(query, keys, a))[0] for a in (index, mask)]
        torch.testing.assert_close(*values, rtol=1e-12, atol=0)


def test_predictions_valid_units_and_weights(cells):
    query, keys, _ = cells
    index = torch.arange(6).expand(4, 6)
    valid, weight = torch.rand(4, 6) < 0.5, torch.rand(4, 6, dtype=torch.float64)
    units = Units(vectors=keys * 0, predicted=query)
    comparison = Comparison(units, Units(keys), Match(index=index, valid=valid, weight=weight), Batch(index))
    loss, _ = Cosine(squared=True, mean='counted').score(comparison)
    terms = [
        (2 - 2 * cosine(query[b, i], keys[b, i])) * float(weight[b, i]) for b, i in valid.nonzero().tolist()
    ]
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


@pytest.mark.parametrize('mean', ['rows', 'counted', 'images'])
def test_nothing_answers(cells, mean):
    query, keys, answers = cells
    query.requires_grad_()
    loss, found = Cosine(True, mean).score(Comparison.of_sets(query, keys, answers & False))
    loss.backward()
    assert loss.item() == found['pos_sim'].item() == 0 and (query.grad == 0).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_and_zero_vectors(cells, dtype):
    query, keys, answers = (x.to(dtype) if x.is_floating_point() else x for x in cells)
    query[1], keys[2] = 0, 0
    query.requires_grad_()
    want, _ = Cosine(mean='images').score(Comparison.of_sets(query.float(), keys.float(), answers))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss, _ = Cosine(mean='images').score(Comparison.of_sets(query, keys, answers))
    assert loss.dtype == torch.float32 and loss == want
    loss.backward()
    assert query.grad.isfinite().all() and (query.grad[3] != 0).any()


def test_gradients_are_left_to_the_head():
    a, b = (x.requires_grad_() for x in torch.randn(2, 7, 5, dtype=torch.float64).unbind())
    to_a, to_b = torch.autograd.grad(Cosine().score(Comparison.of_rows(a, b))[0], (a, b))
    assert to_a.norm() > 0 and to_b.norm() > 0


def test_an_unknown_mean():
    with pytest.raises(ValueError, match="Cosine: mean must be .*'images', got 'pairs'"):
        Cosine(mean='pairs')
