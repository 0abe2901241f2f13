"""Pixel contrast against its definition, one pair at a time."""

import pytest
import torch

from densecl.models.losses import functional as L

LABELS = torch.tensor([3, 0, 3, 7, 0, 3, 5])  # 7 and 5 are alone
KEY_LABELS = torch.tensor([7, 0, 1, 3, 7])  # with keys only 5 is alone


def naive(features, labels, t, base, keys=None, key_labels=None):
    """mean_i -t/base mean_p [s_ip/t - log(exp(s_ip/t) + sum_n exp(s_in/t))]; who is alone adds 0."""
    columns, names = list(features), labels.tolist()
    if keys is not None:
        columns, names = columns + list(keys), names + key_labels.tolist()
    unit = [c / c.norm() for c in columns]
    total = features.sum() * 0
    for i in range(len(features)):
        s = [torch.dot(unit[i], u) / t for u in unit]
        below = sum(torch.exp(s[n]) for n in range(len(s)) if names[n] != names[i])
        terms = [
            s[p] - torch.log(torch.exp(s[p]) + below)
            for p in range(len(s))
            if names[p] == names[i] and p != i
        ]
        if terms:
            total = total - t / base * sum(terms) / len(terms)
    return total / len(features)


@pytest.mark.parametrize(('t', 'base'), [(0.1, 0.07), (0.5, 0.5)])
def test_equals_the_definition(agree, draw, t, base):
    agree(
        lambda x: L.pixel_contrast(x, LABELS, t, base),
        lambda x: naive(x, LABELS, t, base),
        *draw((7, 4)),
    )


def test_keys_are_further_positives_and_negatives(agree, draw):
    agree(
        lambda x, k: L.pixel_contrast(x, LABELS, 0.1, 0.07, keys=k, key_labels=KEY_LABELS),
        lambda x, k: naive(x, LABELS, 0.1, 0.07, k, KEY_LABELS),
        *draw((7, 4), (5, 4)),
    )


def test_a_key_equal_to_the_anchor_is_no_self_comparison(draw):
    (x,) = draw((3, 4))
    keys, labels = x[:1].clone(), torch.tensor([0, 1, 2])
    got = L.pixel_contrast(x, labels, 0.1, 0.1, keys=keys, key_labels=labels[:1])
    torch.testing.assert_close(got, naive(x, labels, 0.1, 0.1, keys, labels[:1]))
    assert got > 0  # the key is the first anchor's positive


def test_without_keys_it_is_sincere_rescaled(draw):
    (x,) = draw((7, 4))
    want = 0.1 / 0.07 * L.sincere(x, LABELS, 0.1)
    torch.testing.assert_close(L.pixel_contrast(x, LABELS, 0.1, 0.07), want, rtol=0, atol=1e-12)


def test_an_anchor_alone_adds_nothing_but_counts(draw):
    (x,) = draw((5, 4))
    labels = torch.tensor([0, 0, 1, 1, 2])
    alone = L.pixel_contrast(x, labels, 0.5, 0.5)
    with_one_key = L.pixel_contrast(x[:4], labels[:4], 0.5, 0.5, keys=x[4:], key_labels=labels[4:])
    torch.testing.assert_close(alone, with_one_key * 4 / 5)


@pytest.mark.parametrize('labels', [torch.arange(5), torch.zeros(5, dtype=torch.long)])
def test_without_positives_or_negatives_loss_and_gradient_are_zero(draw, labels):
    (x,) = draw((5, 4))
    x.requires_grad_()
    value = L.pixel_contrast(x, labels, 0.1, 0.07)
    value.backward()
    assert value.item() == 0
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_no_anchor_at_all_keeps_the_graph():
    x = torch.randn(4, 3, requires_grad=True)
    labels = torch.zeros(0, dtype=torch.long)
    keys = dict(keys=torch.randn(2, 3), key_labels=torch.tensor([0, 1]))
    for extra in ({}, keys):
        value = L.pixel_contrast(x[:0], labels, 0.1, 0.07, **extra)
        value.backward()
        assert value.item() == 0
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_float32_under_autocast(draw):
    (x,) = draw((7, 4))
    half = x.bfloat16()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        got = L.pixel_contrast(half, LABELS, 0.1, 0.07)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), naive(half.double(), LABELS, 0.1, 0.07), rtol=1e-5, atol=0)


def test_every_vector_needs_its_label(draw):
    (x,) = draw((7, 4))
    with pytest.raises(ValueError, match='embeddings has 7 vectors, but there are 6 labels'):
        L.pixel_contrast(x, LABELS[:6], 0.1, 0.07)
    with pytest.raises(ValueError, match='keys has 7 vectors, but there are 0 labels'):
        L.pixel_contrast(x, LABELS, 0.1, 0.07, keys=x)
