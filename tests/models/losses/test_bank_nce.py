"""NPID's objective against the official formula written out."""

import math

import pytest
import torch
import torch.nn.functional as F

from densecl.models.losses import NCE
from densecl.schedule import Clock
from densecl.structures import Batch, Comparison, Units

IMAGES = torch.tensor([4, 0, 9])


def queries(rows=3):
    return torch.randn(rows, 6, dtype=torch.float64, requires_grad=True)


def naive(query, bank, images, drawn, t, z=None, eps=1e-7):
    """The official loops; returns the loss and Z."""
    n, count = len(bank), drawn.shape[1]
    q = query / query.norm(dim=1, keepdim=True)
    exps = [
        [torch.exp((bank[j] * q[row]).sum() / t) for j in [image, *drawn[row].tolist()]]
        for row, image in enumerate(images.tolist())
    ]
    if z is None:
        flat = [float(e.detach()) for row in exps for e in row]
        z = n * sum(flat) / len(flat)
    total, noise = 0.0, count / n
    for positive, *others in exps:
        total = total - torch.log(positive / z / (positive / z + noise + eps))
        for other in others:
            total = total - torch.log(noise / (other / z + noise + eps))
    return total / len(images), z


def score(objective, query, images=IMAGES):
    """Of (B, C) rows, or of (B, N, C) units; no key is there."""
    units = Units(query[:, None] if query.ndim == 2 else query)
    batch = Batch(numbers=torch.arange(len(query)), indices=images)
    return objective.score(Comparison(units, None, None, batch))


def remember(objective, keys, images=IMAGES):
    batch = Batch(numbers=torch.arange(len(keys)), indices=images)
    objective.remember([Units(keys[:, None], pooled=keys)], batch)


def step(objective, query, images=IMAGES):
    drawn = objective.bank.draw(images, objective.negatives, objective.rounds.clone())
    bank = objective.bank.vectors.clone()
    loss, diagnostics = score(objective, query, images)
    if objective.training:
        remember(objective, query, images)
    return loss, diagnostics, bank, drawn


def test_the_partition_is_known_after_loading():
    first, second = (NCE(images=10, dim=6, negatives=5, temperature=0.3).double() for _ in range(2))
    step(first, queries())
    second.load_state_dict(first.state_dict())
    other = queries() * 3
    losses = [score(objective, other)[0] for objective in (first, second)]
    assert float(second.partition) == float(first.partition) > 0
    assert torch.equal(*losses)

    # a file of before the first step leaves it to the first step again
    fresh = NCE(images=10, dim=6, negatives=5, temperature=0.3).double()
    second.load_state_dict(fresh.state_dict())
    step(second, queries())
    assert float(second.partition) > 0


def test_nce_and_its_frozen_partition():
    objective = NCE(images=10, dim=6, negatives=5, temperature=0.3).double()
    query = queries()
    loss, diagnostics, bank, drawn = step(objective, query)
    want, z = naive(query, bank, IMAGES, drawn, 0.3)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-10)
    assert float(objective.partition) == pytest.approx(z, rel=1e-12)
    mine, theirs = (torch.autograd.grad(x, query)[0] for x in (loss, want))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
    cosine = F.cosine_similarity(query, bank[IMAGES], dim=1) * bank[IMAGES].norm(dim=1)
    assert float(diagnostics['pos_sim']) == pytest.approx(float(cosine.detach().mean()), abs=1e-12)

    # second batch: other draws, the learned bank, the same Z
    again = queries()
    loss, _, bank2, drawn2 = step(objective, again, torch.tensor([9, 2, 3]))
    assert not torch.equal(drawn, drawn2)
    want, _ = naive(again, bank2, torch.tensor([9, 2, 3]), drawn2, 0.3, z=z)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-10)


def test_softmax_over_the_whole_bank():
    objective = NCE(images=10, dim=6, temperature=0.3, form='softmax').double()
    query = queries()
    loss, _, bank, _ = step(objective, query)
    want = F.cross_entropy(F.normalize(query, dim=1) @ bank.T / 0.3, IMAGES)
    torch.testing.assert_close(loss, want, rtol=0, atol=1e-10)
    # the bank has learned the batch by now; the gradient is that of the bank before
    mine, theirs = (torch.autograd.grad(x, query)[0] for x in (loss, want))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize('form', ['nce', 'softmax'])
def test_the_bank_learns_after_scoring_and_in_training_only(form):
    objective = NCE(images=10, dim=6, negatives=5, form=form, momentum=0.25).double()
    query = queries()
    objective.eval()
    first, _, before, _ = step(objective, query)
    assert torch.equal(objective.bank.vectors, before)
    assert float(objective.partition) == 0 and int(objective.rounds) == 0
    objective.train()
    second, _, _, _ = step(objective, query)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    want = before.clone()
    unit = F.normalize(query.detach(), dim=1)
    want[IMAGES] = F.normalize(0.25 * before[IMAGES] + 0.75 * unit, dim=1)
    torch.testing.assert_close(objective.bank.vectors, want, rtol=0, atol=1e-12)


def test_what_the_bank_learns_may_differ_from_the_query():
    objective = NCE(images=10, dim=6, form='softmax').double()
    query, other = torch.randn(3, 2, 6, dtype=torch.float64), queries()
    before = objective.bank.vectors.clone()
    loss, _ = score(objective, query)
    remember(objective, other)
    logits = F.normalize(query, dim=-1).flatten(0, 1) @ before.T / 0.07
    torch.testing.assert_close(loss, F.cross_entropy(logits, IMAGES.repeat_interleave(2)), rtol=0, atol=1e-10)
    after = F.normalize(before[IMAGES] + F.normalize(other.detach(), dim=1), dim=1)
    torch.testing.assert_close(objective.bank.vectors[IMAGES], after, rtol=0, atol=1e-12)


def test_a_resumed_objective_goes_on_alike():
    objective = NCE(images=10, dim=6, negatives=5).double()
    step(objective, queries())
    resumed = NCE(dim=6, negatives=5).double()
    resumed.load_state_dict(objective.state_dict())
    torch.manual_seed(8)
    query = queries()
    results = [step(x, query)[0] for x in (objective, resumed)]
    assert torch.equal(*results)
    assert torch.equal(objective.bank.vectors, resumed.bank.vectors)


def test_sharp_temperatures_stay_finite_in_float32():
    objective = NCE(images=1_000_000, dim=8, negatives=64, temperature=0.02)
    aligned = objective.bank.vectors[IMAGES].clone().mul(3).requires_grad_()
    opposed = (-objective.bank.vectors[IMAGES]).requires_grad_()
    for query in (aligned, opposed):
        loss, _ = score(objective, query)
        (gradient,) = torch.autograd.grad(loss, query)
        assert math.isfinite(float(loss.detach())) and bool(gradient.isfinite().all())


def test_temperature_follows_its_schedule():
    objective = (
        NCE(images=10, dim=6, form='softmax', temperature=dict(start=0.4, end=0.2, shape='linear'))
        .double()
        .eval()
    )
    query = queries()
    objective.clock = Clock(step=5, total=10)
    got, _ = score(objective, query)
    want = F.cross_entropy(F.normalize(query, dim=1) @ objective.bank.vectors.T / 0.3, IMAGES)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


def test_size_of_the_data_set():
    objective = NCE(dim=6)
    query = queries().float()
    with pytest.raises(ValueError, match='MemoryBank: the number of images is not known.*DataSizeHook'):
        score(objective, query)
    objective.bank.set_images(9)
    with pytest.raises(IndexError, match=r'MemoryBank\(images=9\) met image 9: images must be'):
        score(objective, query)
    objective.bank.set_images(7)  # a part of the data set is fine
    assert len(objective.bank) == 9
    with pytest.raises(ValueError, match='9 images, the data set has 10: set images=10'):
        objective.bank.set_images(10)
    with pytest.raises(ValueError, match='batch.indices'):
        score(objective, query, None)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(form='x'), "'nce' or 'softmax', got 'x'"),
        (dict(negatives=0), "negatives must be at least 1, got 0; form='softmax'"),
        (dict(temperature=0.0), 'temperature must be positive, got 0.0'),
    ],
)
def test_refusals(kwargs, message):
    with pytest.raises(ValueError, match=message):
        NCE(images=3, dim=2, **kwargs)


def test_what_is_scored_first_sets_the_constant_and_the_draws():
    """PIRL scores patches, then the image: the order is part of the run."""
    first, second = queries(), queries()
    constants = []
    for order in ((first, second), (second, first)):
        objective = NCE(images=10, dim=6, negatives=5, temperature=0.3).double()
        drawn = objective.bank.draw(IMAGES, 5, objective.rounds.clone())
        bank = objective.bank.vectors.clone()
        losses = [score(objective, query)[0] for query in order]
        want, z = naive(order[0], bank, IMAGES, drawn, 0.3)
        torch.testing.assert_close(losses[0], want, rtol=0, atol=1e-10)
        assert float(objective.partition) == pytest.approx(z, rel=1e-12) and int(objective.rounds) == 2
        assert torch.equal(objective.bank.vectors, bank)
        constants.append(z)
    assert constants[0] != pytest.approx(constants[1], rel=1e-3)


@pytest.mark.parametrize('form', ['nce', 'softmax'])
def test_half_precision_and_zero_vectors(form):
    objective = NCE(images=10, dim=6, negatives=5, form=form)
    query = torch.randn(3, 6).half()
    query[1] = 0
    query.requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss, _ = score(objective.eval(), query)
    want, _ = score(objective, query.detach().float())
    torch.testing.assert_close(loss, want, rtol=0, atol=0)
    loss.backward()
    assert query.grad.isfinite().all() and (query.grad[0] != 0).any()
    remember(objective, query)
    assert objective.bank.vectors.isfinite().all()
