"""CLOP's anchors, cross-entropy on labels, and sums of objectives."""

import pytest
import torch
import torch.nn.functional as F

from densecl.models.losses import (
    InfoNCE,
    LabelCrossEntropy,
    PrototypeAlignment,
    Samples,
    Sum,
)
from densecl.models.losses.functional import nt_xent

LABELS = torch.tensor([0, 2, -1, 1, 2])


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
    loss, diagnostics = objective(a, b, samples=Samples(labels=LABELS))
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
    a, b = two(4)
    rows = torch.tensor([0, 0, 1, 1])
    by_rows = objective(a, b, samples=Samples(labels=torch.tensor([2, 0]), rows=rows))[0]
    plain = objective(a, b, samples=Samples(labels=torch.tensor([2, 2, 0, 0])))[0]
    torch.testing.assert_close(by_rows, plain, rtol=0, atol=0)


def test_cross_entropy_skips_unlabelled_rows():
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    loss, diagnostics = LabelCrossEntropy()(logits, samples=Samples(labels=LABELS))
    want = F.cross_entropy(logits[LABELS >= 0], LABELS[LABELS >= 0])
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-12)
    hits = (logits.argmax(1) == LABELS).sum() / 4
    assert float(diagnostics['accuracy']) == pytest.approx(float(hits))
    loss, diagnostics = LabelCrossEntropy()(logits, samples=Samples(labels=torch.full((5,), -1)))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) == float(diagnostics['accuracy']) == float(gradient.abs().sum()) == 0


@pytest.mark.parametrize('objective', [LabelCrossEntropy(), PrototypeAlignment(3, 6)])
def test_labels_that_are_missing_or_too_many(objective):
    x = torch.randn(5, 6)
    with pytest.raises(ValueError, match="needs labels.*type='ImageNet'"):
        objective(x, x, samples=Samples())
    with pytest.raises(ValueError, match='label 9 does not fit classes='):
        objective(x, x, samples=Samples(labels=torch.tensor([9, 0, 0, 0, 0])))


def test_clop_is_a_sum():
    contrast = dict(type='densecl.InfoNCE', temperature=0.3, queue=0, batch='views')
    anchors = dict(type='densecl.PrototypeAlignment', classes=3, dim=6)
    objective = Sum(objectives=[contrast, anchors], weights=[1.0, 0.5]).double()
    a, b = two()
    samples = Samples(labels=LABELS)
    both = [objective(x, y, samples=samples) for x, y in ((a, b), (b, a))]
    loss = (both[0][0] + both[1][0]) / 2
    alignment, logged = objective.objectives[1](a, b, samples=samples)
    torch.testing.assert_close(loss, nt_xent(a, b, 0.3) + 0.5 * alignment, rtol=0, atol=1e-10)
    diagnostics = both[0][1]
    assert set(diagnostics) == {'InfoNCE', 'PrototypeAlignment', 'pos_sim', 'top1', 'anchor_sim'}
    torch.testing.assert_close(diagnostics['PrototypeAlignment'], alignment.detach())
    torch.testing.assert_close(diagnostics['anchor_sim'], logged['anchor_sim'])
    assert objective.queue is None


def test_the_sum_shows_its_queue():
    parts = [
        dict(type='densecl.NegativeCosine'),
        dict(type='densecl.InfoNCE', queue=8, dim=6),
    ]
    objective = Sum(objectives=parts)
    assert objective.weights == [1.0, 1.0]
    assert isinstance(objective.objectives[1], InfoNCE)
    assert objective.queue is objective.objectives[1].queue and len(objective.queue) == 8
    with pytest.raises(ValueError, match='got 1 weights for 2 objectives'):
        Sum(objectives=parts, weights=[1.0])
