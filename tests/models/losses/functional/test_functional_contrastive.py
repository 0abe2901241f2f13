"""NT-Xent, MoCo v3, DirectCLR and tiled InfoNCE against their definitions, one anchor at a time."""

import math

import pytest
import torch

from densecl.models.losses import functional as L
from densecl.models.losses.forms import contrastive_terms
from densecl.numerics import unit


def cosine(a, b):
    return torch.dot(a, b) / (a.norm() * b.norm())


def naive_nt_xent(view1, view2, temperature):
    """SimCLR, eq. 1: 2k-1 and 2k are the two views of image k."""
    z = [v for pair in zip(view1, view2, strict=True) for v in pair]
    total = 0.0
    for i in range(len(z)):
        j = i + 1 if i % 2 == 0 else i - 1
        below = sum(torch.exp(cosine(z[i], z[k]) / temperature) for k in range(len(z)) if k != i)
        total = total - torch.log(torch.exp(cosine(z[i], z[j]) / temperature) / below)
    return total / len(z)


def naive_direction(queries, keys, temperature):
    """Cross entropy of row i's N cosines with target i."""
    total = 0.0
    for i, q in enumerate(queries):
        logits = torch.stack([cosine(q, k) / temperature for k in keys])
        total = total - logits[i] + torch.log(sum(torch.exp(x) for x in logits))
    return total / len(queries)


@pytest.mark.parametrize('temperature', [0.05, 0.1, 0.5, 1.0])
def test_nt_xent_equals_the_definition(agree, draw, temperature):
    agree(
        lambda a, b: L.nt_xent(a, b, temperature),
        lambda a, b: naive_nt_xent(a, b, temperature),
        *draw((5, 4), (5, 4)),
    )


def test_nt_xent_is_half_of_the_official_codes_sum_of_means(draw):
    view1, view2 = (unit(x) for x in draw((6, 4), (6, 4)))
    n, t = 6, 0.1
    ab, aa, bb = view1 @ view2.T / t, view1 @ view1.T / t, view2 @ view2.T / t
    masked = torch.eye(n, dtype=torch.float64) * 1e9
    target = torch.arange(n)
    official = torch.nn.functional.cross_entropy(torch.cat([ab, aa - masked], 1), target)
    official += torch.nn.functional.cross_entropy(torch.cat([ab.T, bb - masked], 1), target)
    torch.testing.assert_close(2 * L.nt_xent(view1, view2, t), official, rtol=0, atol=1e-9)


def test_nt_xent_of_orthogonal_images_has_a_closed_form():
    eye = torch.eye(5, dtype=torch.float64)
    loss = L.nt_xent(eye, eye, 0.5)
    assert loss.item() == pytest.approx(math.log(1 + 8 * math.exp(-2)), abs=1e-12)


def test_nt_xent_is_symmetric_in_the_views_and_free_of_scale(draw):
    view1, view2 = draw((6, 4), (6, 4))
    loss = L.nt_xent(view1, view2, 0.2)
    torch.testing.assert_close(L.nt_xent(view2, view1, 0.2), loss)
    torch.testing.assert_close(L.nt_xent(3 * view1, 0.1 * view2, 0.2), loss)


def test_nt_xent_of_one_image_is_zero(draw):
    view1, view2 = (x.requires_grad_() for x in draw((1, 4), (1, 4)))
    loss = L.nt_xent(view1, view2, 0.2)
    loss.backward()
    assert loss.item() == 0
    assert view1.grad.abs().sum() == 0


def test_views_of_different_size_are_refused(draw):
    with pytest.raises(ValueError, match=r'same images.*\(3, 4\).*\(2, 4\)'):
        L.nt_xent(*draw((3, 4), (2, 4)), 0.2)


@pytest.mark.parametrize('temperature', [0.05, 0.2, 1.0])
def test_moco_v3_equals_the_definition(agree, draw, temperature):
    def naive(q1, q2, k1, k2):
        both = naive_direction(q1, k2, temperature) + naive_direction(q2, k1, temperature)
        return 2 * temperature * both

    agree(lambda *x: L.moco_v3(*x, temperature), naive, *draw(*[(5, 4)] * 4))


@pytest.mark.parametrize('dimensions', [1, 3, 6])
def test_direct_clr_equals_the_definition(agree, draw, dimensions):
    def naive(r1, r2):
        r1, r2 = r1[:, :dimensions], r2[:, :dimensions]
        return (naive_direction(r1, r2, 0.1) + naive_direction(r2, r1, 0.1)) / 2

    agree(lambda a, b: L.direct_clr(a, b, dimensions, 0.1), naive, *draw((5, 6), (5, 6)))


def test_direct_clr_leaves_the_other_channels_alone(draw):
    features1, features2 = (x.requires_grad_() for x in draw((5, 6), (5, 6)))
    L.direct_clr(features1, features2, 4, 0.1).backward()
    assert features1.grad[:, 4:].abs().sum() == 0
    assert (features1.grad[:, :4] != 0).all()


@pytest.mark.parametrize('dimensions', [0, 7])
def test_direct_clr_names_impossible_dimensions(draw, dimensions):
    with pytest.raises(ValueError, match=f'between 1 and the 6 channels.*{dimensions}'):
        L.direct_clr(*draw((5, 6), (5, 6)), dimensions, 0.1)


@pytest.mark.parametrize('tile', [1, 3, 7, 100])
def test_tiled_info_nce_equals_the_definition_for_every_tile(agree, draw, tile):
    def naive(query, positive, negatives):
        total = 0.0
        for q, p in zip(query, positive, strict=True):
            logits = [cosine(q, p) / 0.2] + [cosine(q, n) / 0.2 for n in negatives]
            total = total - logits[0] + torch.log(sum(torch.exp(x) for x in logits))
        return total / len(query)

    agree(lambda *x: L.tiled_info_nce(*x, 0.2, tile), naive, *draw((5, 4), (5, 4), (7, 4)))


def test_tiled_info_nce_equals_info_nce(draw):
    inputs = draw((5, 4), (5, 4), (7, 4))
    torch.testing.assert_close(
        L.tiled_info_nce(*inputs, 0.07, 2), L.info_nce(*inputs, 0.07), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize('gap', [-800.0, -30.0, 0.0, 20.5, 30.0, 800.0])
def test_terms_are_exact_far_from_zero(gap):
    positive = torch.zeros(1, dtype=torch.float64)
    got = contrastive_terms(positive, positive + gap)
    want = math.log1p(math.exp(gap)) if gap < 700 else gap
    assert got.item() == pytest.approx(want, rel=1e-14)


def test_a_learned_temperature_gets_its_gradient(draw):
    inputs = draw((4, 3), (4, 3))
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: L.nt_xent(*inputs, t), temperature)
    # The factor 2 t of MoCo v3 is no way to a lower loss: no gradient flows through it.
    q, k = inputs
    (got,) = torch.autograd.grad(L.moco_v3(q, k, k, q, temperature), temperature)
    over = lambda t: L.moco_v3(q, k, k, q, t) / (2 * t)  # noqa: E731
    step = 1e-6
    want = 2 * 0.3 * (over(temperature + step) - over(temperature - step)).detach() / (2 * step)
    torch.testing.assert_close(got, want, rtol=1e-7, atol=0)
