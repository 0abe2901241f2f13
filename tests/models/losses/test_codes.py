"""Cross-entropy of codes against a float64 form."""

import math

import pytest
import torch

from densecl.models.losses import CodeCrossEntropy, Commitment, SoftCrossEntropy
from densecl.models.losses.codes import soft_cross_entropy
from densecl.structures import Comparison
from tests.oracles.colors import cross_entropy


def compared(logits, codes, valid):
    comparison = Comparison.of_sets(logits, codes)
    comparison.match.valid = valid
    return comparison


VALID = torch.tensor([[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0]]).bool()  # not equally many in each image


@pytest.fixture
def logits():
    return 3 * torch.randn(3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def codes():
    return torch.tensor([[5, 2, 0, 2], [1, 1, 1, 1], [4, 3, 1, 0]]).double()[..., None]


@pytest.mark.parametrize('mean', ['counted', 'images'])
def test_value_and_log(logits, codes, mean):
    loss, log = CodeCrossEntropy(mean).score(compared(logits, codes, VALID))
    terms = {}
    for b, n in VALID.nonzero().tolist():
        row = logits[b, n].tolist()
        terms[b, n] = math.log(sum(math.exp(v) for v in row)) - row[int(codes[b, n])]
    if mean == 'counted':
        want = sum(terms.values()) / 4
    else:
        want = ((terms[0, 0] + terms[0, 1] + terms[0, 3]) / 3 + terms[2, 1]) / 3
    assert loss.item() == pytest.approx(want, rel=1e-12)
    hits = sum(logits[b, n].argmax().item() == codes[b, n].item() for b, n in terms)
    assert log['accuracy'].item() == hits / 4
    assert log['frequent'].item() == 2 / 4  # of 5, 2, 2, 3


def test_gradient_is_that_of_the_units_that_count(logits, codes):
    logits.requires_grad_()
    loss, _ = CodeCrossEntropy().score(compared(logits, codes, VALID))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.equal(gradient.abs().sum(2) > 0, VALID)
    want = logits[0, 0].detach().softmax(0)
    want[5] -= 1
    torch.testing.assert_close(gradient[0, 0], want / 4)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    logits = torch.zeros(1, 2, 3000, dtype=dtype)
    logits[0, :, 2999] = 10
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss, log = CodeCrossEntropy().score(compared(logits, torch.full((1, 2, 1), 2999.0), None))
    assert loss.dtype == torch.float32 and log['accuracy'] == 1
    assert loss.item() == pytest.approx(math.log(2999 + math.exp(10)) - 10, abs=1e-5)


def test_no_unit_counts(logits, codes):
    loss, log = CodeCrossEntropy().score(compared(logits.requires_grad_(), codes, torch.zeros_like(VALID)))
    loss.backward()
    assert loss.item() == 0 == log['accuracy'] == log['frequent'] and logits.grad.abs().max() == 0


def test_commitment_moves_the_embeddings_alone(logits):
    """The mean squared distance of a channel, and twice the difference as its gradient."""
    embeddings, codes = logits.requires_grad_(), torch.randn_like(logits).requires_grad_()
    comparison = compared(embeddings, codes, None)
    comparison.query.embeddings, comparison.query.codes = embeddings, codes
    comparison.query.log = {'used': torch.ones(())}
    loss, log = Commitment().score(comparison)
    pairs = zip(embeddings.flatten().tolist(), codes.flatten().tolist(), strict=True)
    assert loss.item() == pytest.approx(sum((a - b) ** 2 for a, b in pairs) / (3 * 4 * 6), rel=1e-12)
    at_embeddings, at_codes = torch.autograd.grad(loss, [embeddings, codes], allow_unused=True)
    assert at_codes is None and log == {'used': 1}
    torch.testing.assert_close(at_embeddings, (2 * (embeddings - codes) / 72).detach())


def test_what_is_refused(logits, codes):
    with pytest.raises(ValueError, match='code 6 with 6 logits; give the projector as many channels'):
        CodeCrossEntropy().score(compared(logits, codes + 1, None))
    with pytest.raises(ValueError, match='keys of 6 values, not one code a unit'):
        CodeCrossEntropy().score(compared(logits, logits, None))
    with pytest.raises(ValueError, match="mean must be 'counted' or 'images'"):
        CodeCrossEntropy('rows')


@pytest.fixture
def answers():
    """Shares of six classes, times the weights of the units; a unit that counts has none."""
    shares = torch.rand(3, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).softmax(-1)
    weights = torch.tensor([[0.5, 2.0, 1.0, 0.0], [1.0] * 4, [1.0, 3.0, 1.0, 1.0]]).double()
    return shares * weights[..., None]


@pytest.mark.parametrize('mean', ['counted', 'images'])
def test_soft_value_has_no_weight(logits, answers, mean):
    loss, log = SoftCrossEntropy(mean).score(compared(logits, answers, VALID))
    terms = {}
    for b, n in ((0, 0), (0, 1), (2, 1)):
        shares = (answers[b, n] / answers[b, n].sum()).tolist()
        terms[b, n] = cross_entropy(logits[b, n].tolist(), shares)
    if mean == 'counted':
        want = sum(terms.values()) / 3
    else:
        want = ((terms[0, 0] + terms[0, 1]) / 2 + terms[2, 1]) / 3
    assert loss.item() == pytest.approx(want, rel=1e-12)
    assert log['accuracy'] == sum(logits[i].argmax() == answers[i].argmax() for i in terms) / 3
    entropies = [-sum(q * math.log(q) for q in (answers[i] / answers[i].sum()).tolist()) for i in terms]
    assert log['entropy'].item() == pytest.approx(sum(entropies) / 3)


def test_soft_gradient_has_the_weight(logits, answers):
    """w (p - q) over the number of units that count, and nothing to the answers."""
    logits.requires_grad_(), answers.requires_grad_()
    loss, _ = SoftCrossEntropy().score(compared(logits, answers, VALID))
    loss.backward()
    weights = answers.detach().sum(-1, keepdim=True)
    want = (weights * logits.detach().softmax(-1) - answers.detach()) / 3
    torch.testing.assert_close(logits.grad, torch.where(VALID[..., None], want, 0.0))
    assert answers.grad is None


def test_soft_gradient_of_weight_1(logits, answers):
    shares = answers[2] / answers[2].sum(-1, keepdim=True)
    rows = logits[2].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_cross_entropy(x, shares), rows)
    want = -(shares * logits[2].log_softmax(-1)).sum(-1)
    torch.testing.assert_close(soft_cross_entropy(rows, shares), want)


def test_soft_without_a_share(logits):
    loss, log = SoftCrossEntropy().score(compared(logits.requires_grad_(), torch.zeros_like(logits), None))
    loss.backward()
    assert loss.item() == 0 == log['accuracy'] == log['entropy'] and logits.grad.abs().max() == 0
    with pytest.raises(ValueError, match='6 logits of a unit, its answer has 1 shares; give the projector'):
        SoftCrossEntropy().score(compared(logits, logits[..., :1], None))
