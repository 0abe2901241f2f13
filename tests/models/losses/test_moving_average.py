"""SogCLR's moving average and iSogCLR's temperatures against their official surrogate."""

import math

import pytest
import torch
import torch.nn.functional as F
from oracles.comparisons import compare, part, set_clock, step
from oracles.per_image import Surrogate

from densecl.models.losses import InfoNCE, MovingAverage, PerSampleTemperature
from densecl.schedule import Clock

IMAGES, BATCH = 6, 4


def build(learn=True, gamma=0.8, **kwargs):
    temperature = dict(type='densecl.PerSampleTemperature', images=IMAGES, gamma=gamma, **kwargs)
    objective = InfoNCE(
        temperature=temperature if learn else 0.1,
        queue=0,
        batch='views',
        negatives=dict(type='densecl.MovingAverage', images=IMAGES, gamma=gamma),
        decoupled=True,
        times_temperature=True,
    ).double()
    if learn:  # exactly, not rounded to float32
        objective.temperature.state.temperature.fill_(0.1)
    return objective


def averages(objective):
    return part(objective, MovingAverage).state.log_mean


@pytest.mark.parametrize('learn', [True, False])
@pytest.mark.parametrize('repeated', [False, True])
def test_gradients_and_state_equal_the_official_surrogate(learn, repeated):
    objective, reference = build(learn).train(), Surrogate(IMAGES, 0.8, learn=learn)
    clock = set_clock(objective, Clock())
    for clock.step in range(6):
        views = [torch.randn(BATCH, 5, dtype=torch.float64).requires_grad_() for _ in '12']
        indices = torch.randint(IMAGES, (BATCH,)) if repeated else torch.randperm(IMAGES)[:BATCH]
        loss = step(objective, compare(*views, indices), compare(*views[::-1], indices))
        expected = reference.step(*views, indices.tolist())
        for mine, theirs in zip(
            torch.autograd.grad(loss, views), torch.autograd.grad(expected, views), strict=True
        ):
            torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)
        estimates = torch.tensor([math.log(s) if s else -math.inf for s in reference.s]).double()
        torch.testing.assert_close(averages(objective), estimates, rtol=1e-6, atol=1e-6)
        if learn:
            state = part(objective, PerSampleTemperature).state
            taus = torch.tensor(reference.tau, dtype=torch.float64)
            torch.testing.assert_close(state.temperature, taus, rtol=0, atol=1e-8)
            momenta = torch.tensor(reference.u, dtype=torch.float64)
            torch.testing.assert_close(state.velocity, momenta, rtol=0, atol=1e-8)
            torch.testing.assert_close(state.log_mean, averages(objective))
    if learn:
        assert len(objective.temperature.state.temperature.unique()) > 3


def test_first_sight_is_the_decoupled_loss():
    objective = build(learn=False).train()
    plain = InfoNCE(temperature=0.1, queue=0, batch='views', decoupled=True, times_temperature=True)
    views = torch.randn(2, BATCH, 5, dtype=torch.float64).requires_grad_()
    indices = torch.arange(BATCH)
    mine, theirs = (step(o, compare(*views, indices)) for o in (objective, plain))
    torch.testing.assert_close(mine, theirs)
    gradients = [torch.autograd.grad(x, views)[0] for x in (mine, theirs)]
    torch.testing.assert_close(*gradients)
    again = step(objective, compare(*torch.randn(2, BATCH, 5).double(), indices))
    assert again.isfinite()


def test_cells_of_an_image_share_its_numbers_and_those_that_do_not_count_add_nothing():
    objective = build().train()
    query, positive = torch.randn(2, 9, 5, dtype=torch.float64)
    keys, queries = torch.randn(2, 3, 5, dtype=torch.float64)
    indices = torch.tensor([5, 1, 2])
    comparison = compare(query, positive, indices, keys, queries)
    comparison.match.valid = torch.tensor([[True, True, False]]).expand(3, 3)
    step(objective, comparison)
    pool = F.normalize(torch.cat([keys, queries]), dim=1)
    for image in range(3):
        means = [
            (pool[[c for c in range(6) if c % 3 != image]] @ F.normalize(query[i], dim=0) / 0.1).exp().mean()
            for i in (3 * image, 3 * image + 1)
        ]
        stored = averages(objective)[indices[image]]
        torch.testing.assert_close(stored, (sum(means) / 2).log(), rtol=0, atol=1e-9)
    assert averages(objective)[[0, 3, 4]].isinf().all()


def test_evaluation_changes_nothing_and_state_resumes():
    objective = build().train()
    views = torch.randn(2, BATCH, 5, dtype=torch.float64)
    comparison = compare(*views, torch.arange(BATCH))
    step(objective, comparison)
    saved = {k: v.clone() for k, v in objective.state_dict().items()}
    step(objective.eval(), comparison)
    with torch.no_grad():
        objective.train().remember([comparison.key], comparison.batch)
    assert all(torch.equal(v, saved[k]) for k, v in objective.state_dict().items())
    resumed = build().train()
    resumed.load_state_dict(saved)
    assert step(resumed, comparison) == step(objective, comparison)


def test_small_temperatures_do_not_overflow_and_lonely_images_add_nothing():
    objective = InfoNCE(
        temperature=0.005,
        queue=0,
        batch='keys',
        negatives=dict(type='densecl.MovingAverage', images=IMAGES),
        decoupled=True,
    ).train()
    vectors = torch.ones(BATCH, 5).requires_grad_()
    loss = step(objective, compare(vectors, vectors, torch.arange(BATCH)))
    assert loss.isfinite()
    alone = vectors[:1]
    objective = build().train()
    loss = step(objective, compare(alone, alone, torch.tensor([3])))
    assert loss == 0
    assert torch.autograd.grad(loss, vectors)[0].abs().sum() == 0
    assert averages(objective).isinf().all()
    assert (objective.temperature.state.temperature == 0.1).all()


def test_errors():
    with pytest.raises(ValueError, match='gamma must lie in'):
        build(gamma=0.0)
    with pytest.raises(ValueError, match='start must lie between the limits'):
        build(start=2.0)
    x = torch.ones(1, 5)
    with pytest.raises(IndexError, match=r'PerSampleTemperature\(images=6\) met image 6'):
        step(build().train(), compare(x, x, torch.tensor([6])))
