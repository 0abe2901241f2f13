"""Gram and CKA against loops over units, in float64."""

import math

import pytest
import torch
from oracles import self_distilled as by_hand

from densecl.models.losses import Gram, KernelAlignment
from densecl.models.losses.functional import gram_loss
from densecl.models.losses.relations import centred_alignment, gram_distance
from densecl.structures import Comparison


def cosine(x, y):
    return float(x @ y) / math.sqrt(float(x @ x) * float(y @ y))


def gram_loops(first, second, valid):
    values = []
    for f, g, v in zip(first, second, valid, strict=True):
        rows = v.nonzero().flatten().tolist()
        terms = [(cosine(f[i], f[j]) - cosine(g[i], g[j])) ** 2 for i in rows for j in rows]
        values.append(sum(terms) / max(len(terms), 1))
    return values


def cka_loops(first, second, valid):
    """By covariances of the channels: |F^T G|^2 / (|F^T F| |G^T G|) of centred rows."""
    values = []
    for f, g, v in zip(first, second, valid, strict=True):
        f, g = (x[v] - x[v].mean(0) for x in (f, g))
        norm = torch.linalg.matrix_norm
        values.append(float(norm(f.T @ g) ** 2 / (norm(f.T @ f) * norm(g.T @ g))))
    return values


@pytest.fixture
def sides():
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(3, 6, 5, generator=generator, dtype=torch.float64)
    second = torch.randn(3, 6, 4, generator=generator, dtype=torch.float64)
    valid = torch.ones(3, 6, dtype=torch.bool)
    valid[1, 2:4] = False
    return first, second, valid


@pytest.mark.parametrize(('function', 'loops'), [(gram_distance, gram_loops), (centred_alignment, cka_loops)])
def test_values(sides, function, loops):
    torch.testing.assert_close(function(*sides), torch.tensor(loops(*sides), dtype=torch.float64))


@pytest.mark.parametrize('function', [gram_distance, centred_alignment])
def test_gradients(sides, function):
    first, second, valid = sides
    assert torch.autograd.gradcheck(lambda x: function(x, second, valid), first.requires_grad_())


def test_a_turn_or_a_scale_of_the_space_changes_nothing(sides):
    first, _, valid = sides
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    torch.testing.assert_close(gram_distance(first, first @ turn, valid), torch.zeros(3).double())
    torch.testing.assert_close(centred_alignment(first, 7 * first @ turn, valid), torch.ones(3).double())


@pytest.mark.parametrize(
    ('objective', 'loops', 'images'), [(Gram(), gram_loops, 3), (KernelAlignment(), cka_loops, 2)]
)
def test_an_image_without_units_adds_nothing(sides, objective, loops, images):
    """To Gram's mean it counts, of alignments the mean is over the others."""
    first, second, valid = sides
    valid = torch.tensor([[True] * 6, [False] * 6, [True] * 6])
    compared = Comparison.of_sets(first.clone().requires_grad_(), second)
    compared.match.valid = valid
    loss, _ = objective.score(compared)
    each = loops(first[[0, 2]], second[[0, 2]], valid[[0, 2]])
    each = each if images == 3 else [1 - x for x in each]
    assert loss.item() == pytest.approx(sum(each) / images)
    loss.backward()
    gradient = compared.query.vectors.grad
    assert (gradient[1] == 0).all() and (gradient[0] != 0).any() and gradient.isfinite().all()


@pytest.mark.parametrize('objective', [Gram(), KernelAlignment()])
def test_dead_and_equal_cells_in_half_precision(objective):
    query = torch.zeros(2, 4, 3, dtype=torch.bfloat16)
    query[1] = 1.0
    query.requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        loss, _ = objective.score(Comparison.of_sets(query, torch.randn(2, 4, 3)))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and query.grad.isfinite().all()


def test_gram_loss_of_tokens(sides):
    """Some of the cosines are negative, and differ."""
    first, second, _ = sides
    first.requires_grad_()
    got, want = gram_loss(first, second), by_hand.gram(first, second)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    wanted = [torch.autograd.grad(loss, first)[0] for loss in (got, want)]
    torch.testing.assert_close(*wanted, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(gram_loss, (first, second.requires_grad_()))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_gram_loss_of_half_precision_and_zero_vectors(sides, dtype):
    first, second = (x.to(dtype) for x in sides[:2])
    first[0, 0] = second[1] = 0
    first.requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        loss = gram_loss(first, second)
    want = by_hand.gram(first.detach().double(), second.double())
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(want.item(), rel=1e-5)
    (found,) = torch.autograd.grad(loss, first)
    assert found.isfinite().all() and (found[0, 0] == 0).all() and (found[1] != 0).any()


def test_tokens_of_two_grids_are_refused(sides):
    first, second, _ = sides
    with pytest.raises(
        ValueError, match=r'got shapes \(3, 6, 5\) and \(3, 4, 4\); bring both maps to one grid'
    ):
        gram_loss(first, second[:, :4])
