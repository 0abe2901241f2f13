"""CLOP's anchors, and cross-entropy on labels."""

import pytest
import torch
import torch.nn.functional as F

from densecl.models.losses import (
    LabelCrossEntropy,
    PrototypeAlignment,
)
from densecl.models.losses.labels import orthonormal_prototypes
from densecl.structures import Batch, Comparison, Match, Units

LABELS = torch.tensor([0, 2, -1, 1, 2])


def score(objective, query, key, labels=LABELS):
    """Of (B, D) rows, or of (B, N, D) units."""
    batch = Batch(numbers=torch.arange(len(query)), labels=labels)
    make = Comparison.of_rows if query.ndim == 2 else Comparison.of_sets
    return objective.score(make(query, key, batch=batch))


def classify(logits, labels=LABELS):
    """(B, N, classes) logits, without a key or a match."""
    batch = Batch(numbers=torch.arange(len(logits)), labels=labels)
    return LabelCrossEntropy().score(Comparison(Units(logits), None, Match(), batch))


def two(rows=5, dim=6):
    return (x.requires_grad_() for x in torch.randn(2, rows, dim, dtype=torch.float64).unbind())


def test_anchors_are_orthonormal_frozen_and_the_same_everywhere():
    objective = PrototypeAlignment(classes=4, dim=6)
    anchors = objective.anchors.double()
    torch.testing.assert_close(anchors @ anchors.T, torch.eye(4).double(), rtol=0, atol=1e-6)
    torch.manual_seed(99)
    assert torch.equal(PrototypeAlignment(classes=4, dim=6).anchors, objective.anchors)
    assert not torch.equal(PrototypeAlignment(classes=4, dim=6, seed=1).anchors, objective.anchors)
    assert list(objective.state_dict()) == ['anchors'] and not list(objective.parameters())
    with pytest.raises(ValueError, match='7 orthonormal prototypes need'):
        PrototypeAlignment(classes=7, dim=6)


def test_alignment_is_the_mean_over_labelled_rows_of_both_views():
    objective = PrototypeAlignment(classes=3, dim=6).double()
    a, b = two()
    loss, diagnostics = score(objective, a, b)
    terms = []
    for i, label in enumerate(LABELS.tolist()):
        if label >= 0:
            anchor = objective.anchors[label]
            both = F.cosine_similarity(a[i], anchor, dim=0) + F.cosine_similarity(b[i], anchor, dim=0)
            terms.append(1 - both / 2)
    want = sum(terms) / 4
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(diagnostics['anchor_sim'], 1 - want.detach(), rtol=0, atol=1e-12)
    mine, theirs = (torch.autograd.grad(x, (a, b)) for x in (loss, want))
    for x, y in zip(mine, theirs, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-12)
    assert not mine[0][2].any()


def test_rows_carry_the_label_of_their_image():
    objective = PrototypeAlignment(classes=3, dim=6).double()
    a, b = torch.randn(2, 2, 3, 6, dtype=torch.float64).unbind()
    by_units = score(objective, a, b, torch.tensor([2, 0]))[0]
    labels = torch.tensor([2, 2, 2, 0, 0, 0])
    plain = score(objective, a.flatten(0, 1), b.flatten(0, 1), labels)[0]
    torch.testing.assert_close(by_units, plain, rtol=1e-12, atol=0)


def test_cross_entropy_skips_unlabelled_rows():
    logits = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    loss, diagnostics = classify(logits)
    rows, labels = logits[LABELS >= 0].flatten(0, 1), LABELS[LABELS >= 0].repeat_interleave(2)
    torch.testing.assert_close(loss, F.cross_entropy(rows, labels), rtol=0, atol=1e-12)
    hits = (rows.argmax(1) == labels).double().mean()
    assert float(diagnostics['accuracy']) == pytest.approx(float(hits))
    loss, diagnostics = classify(logits, torch.full((5,), -1))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) == float(diagnostics['accuracy']) == float(gradient.abs().sum()) == 0


@pytest.mark.parametrize('objective', [LabelCrossEntropy(), PrototypeAlignment(3, 6)])
def test_labels_that_are_missing_or_too_many(objective):
    x = torch.randn(5, 6)
    with pytest.raises(ValueError, match="needs labels.*type='ImageNet'"):
        score(objective, x, x, None)
    with pytest.raises(ValueError, match='label 9 does not fit classes='):
        score(objective, x, x, torch.tensor([9, 0, 0, 0, 0]))


@pytest.mark.parametrize('objective', [LabelCrossEntropy(), PrototypeAlignment(3, 6)])
def test_half_precision_and_zero_vectors(objective):
    a, b = torch.randn(2, 5, 6).half().unbind()
    a[0] = 0
    a.requires_grad_()
    want, _ = score(objective, a.detach().float(), b.float())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss, _ = score(objective, a, b)
    assert loss.dtype == torch.float32 and loss == want
    loss.backward()
    assert a.grad.isfinite().all() and (a.grad[1] != 0).any() and (a.grad[2] == 0).all()


@pytest.mark.parametrize(('classes', 'dim'), [(1, 1), (3, 8), (10, 10)])
def test_prototypes_are_orthonormal(classes, dim):
    anchors = orthonormal_prototypes(classes, dim, torch.Generator().manual_seed(0))
    assert anchors.shape == (classes, dim) and anchors.dtype == torch.float32
    torch.testing.assert_close(anchors @ anchors.T, torch.eye(classes), rtol=0, atol=1e-6)
