"""SupCon and SINCERE against their definitions, one pair at a time."""

import pytest
import torch

from densecl.models.losses import functional as L

LABELS = torch.tensor([3, 0, 3, 7, 0, 3, 5])  # 7 and 5 have no positives


def logits(features, temperature):
    z = [f / f.norm() for f in features]
    return [[torch.dot(a, b) / temperature for b in z] for a in z]


def naive_sup_con(features, labels, temperature, form):
    """Eq. 2 and 3; anchors without positives add 0."""
    s, n, total = logits(features, temperature), len(features), features.sum() * 0
    for i in range(n):
        below = sum(torch.exp(s[i][a]) for a in range(n) if a != i)
        shares = [torch.exp(s[i][p]) / below for p in range(n) if p != i and labels[p] == labels[i]]
        if shares and form == 'out':
            total = total - sum(torch.log(x) for x in shares) / len(shares)
        elif shares:
            total = total - torch.log(sum(shares) / len(shares))
    return total / n


def naive_sincere(features, labels, temperature):
    s, n, total = logits(features, temperature), len(features), features.sum() * 0
    for i in range(n):
        below = sum(torch.exp(s[i][k]) for k in range(n) if labels[k] != labels[i])
        terms = [
            -torch.log(torch.exp(s[i][p]) / (torch.exp(s[i][p]) + below))
            for p in range(n)
            if p != i and labels[p] == labels[i]
        ]
        if terms:
            total = total + sum(terms) / len(terms)
    return total / n


@pytest.mark.parametrize('form', ['out', 'in'])
@pytest.mark.parametrize('temperature', [0.07, 0.5])
def test_sup_con_equals_the_definition(agree, draw, temperature, form):
    agree(
        lambda x: L.sup_con(x, LABELS, temperature, form=form),
        lambda x: naive_sup_con(x, LABELS, temperature, form),
        *draw((7, 4)),
    )


@pytest.mark.parametrize('temperature', [0.07, 0.5])
def test_sincere_equals_the_definition(agree, draw, temperature):
    agree(
        lambda x: L.sincere(x, LABELS, temperature),
        lambda x: naive_sincere(x, LABELS, temperature),
        *draw((7, 4)),
    )


@pytest.mark.parametrize(
    'loss', [L.sup_con, lambda *x: L.sup_con(*x, form='in'), L.sincere], ids=['out', 'in', 'sincere']
)
def test_one_positive_each_is_nt_xent(draw, loss):
    view1, view2 = draw((5, 4), (5, 4))
    labels = torch.tensor([4, 8, 1, 0, 2]).repeat(2)
    got = loss(torch.cat([view1, view2]), labels, 0.2)
    torch.testing.assert_close(got, L.nt_xent(view1, view2, 0.2), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    'loss', [L.sup_con, lambda *x: L.sup_con(*x, form='in'), L.sincere], ids=['out', 'in', 'sincere']
)
def test_without_any_positive_loss_and_gradient_are_zero(draw, loss):
    (features,) = draw((5, 4))
    features.requires_grad_()
    value = loss(features, torch.arange(5), 0.1)
    value.backward()
    assert value.item() == 0
    assert features.grad.abs().sum() == 0


def test_sincere_without_any_negative_is_zero(draw):
    (features,) = draw((5, 4))
    features.requires_grad_()
    value = L.sincere(features, torch.zeros(5, dtype=torch.long), 0.1)
    value.backward()
    assert value.item() == 0
    assert features.grad.abs().sum() == 0


def test_the_mean_inside_is_never_larger(draw):
    for seed in range(10):
        (features,) = draw((7, 4), seed=seed)
        inside, outside = (L.sup_con(features, LABELS, 0.1, form=f) for f in ('in', 'out'))
        assert inside <= outside


def test_names_and_order_of_the_labels_do_not_matter(draw):
    (features,) = draw((7, 4))
    order = torch.tensor([6, 2, 0, 5, 1, 3, 4])
    for loss in (L.sup_con, L.sincere):
        expected = loss(features, LABELS, 0.1)
        torch.testing.assert_close(loss(features, 100 - 9 * LABELS, 0.1), expected)
        torch.testing.assert_close(loss(features[order], LABELS[order], 0.1), expected)


def test_an_unknown_form_is_refused(draw):
    with pytest.raises(ValueError, match="'out' or 'in', got 'mean'"):
        L.sup_con(*draw((7, 4)), LABELS, 0.1, form='mean')
