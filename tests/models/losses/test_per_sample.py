"""SogCLR's moving average and iSogCLR's temperatures against their official surrogate."""

import math

import pytest
import torch
import torch.nn.functional as F

from densecl.models.losses import InfoNCE, Samples
from densecl.schedule import Clock

IMAGES, BATCH = 6, 4


class Surrogate:
    """Both views at once, with the weights detached, as the official code has it; state in lists."""

    def __init__(self, gamma, temperature=0.1, rho=0.4, beta=0.5, lr=0.03, learn=True):
        self.gamma, self.rho, self.beta = gamma, rho, beta
        self.lr = lr if learn else 0.0
        self.s, self.tau, self.u = [None] * IMAGES, [temperature] * IMAGES, [0.0] * IMAGES

    def step(self, view1, view2, indices):
        z1, z2 = F.normalize(view1, dim=1), F.normalize(view2, dim=1)
        n, total = 2 * len(z1) - 2, 0.0
        estimates, slopes = {i: [] for i in indices}, {i: [] for i in indices}
        for query, key in ((z1, z2), (z2, z1)):
            for row, i in enumerate(indices):
                other = torch.arange(len(query)) != row
                s = torch.cat([query[other], key[other]]) @ query[row]
                e = (s.detach() / self.tau[i]).exp()
                g = e.mean()
                estimate = g if self.s[i] is None else (1 - self.gamma) * self.s[i] + self.gamma * g
                w = e / estimate
                total = total + (w * s).sum() / n - query[row] @ key[row]
                estimates[i].append(estimate)
                slopes[i].append(
                    estimate.log() + self.rho - (w * s.detach() / self.tau[i]).sum() / n
                )
        for i in indices:
            self.s[i] = sum(estimates[i]) / 2
            slope = float(sum(slopes[i]) / 2)
            self.u[i] = (1 - self.beta) * self.u[i] + self.beta * min(3.0, max(-3.0, slope))
            self.tau[i] = min(1.0, max(0.05, self.tau[i] - self.lr * self.u[i]))
        return total / len(indices)


def build(learn=True, gamma=0.8, **kwargs):
    temperature = dict(type='densecl.PerSampleTemperature', images=IMAGES, gamma=gamma, **kwargs)
    objective = InfoNCE(
        temperature=temperature if learn else 0.1,
        queue=0,
        batch='views',
        negatives=dict(type='densecl.MovingAverage', images=IMAGES, gamma=gamma),
        positives=dict(type='densecl.Decoupled'),
        times_temperature=True,
    ).double()
    if learn:  # exactly, not rounded to float32
        objective.temperature.state.temperature.fill_(0.1)
    return objective


def with_clock(objective):
    clock = Clock()
    for module in objective.modules():
        if hasattr(module, 'clock'):
            module.clock = clock
    return clock


@pytest.mark.parametrize('learn', [True, False])
def test_gradients_and_state_equal_the_official_surrogate(learn):
    objective, reference = build(learn).train(), Surrogate(0.8, learn=learn)
    clock = with_clock(objective)
    for clock.step in range(6):
        views = [torch.randn(BATCH, 5, dtype=torch.float64).requires_grad_() for _ in '12']
        indices = torch.randperm(IMAGES)[:BATCH]
        samples = Samples(indices=indices)
        loss = objective(*views, samples=samples)[0] + objective(*views[::-1], samples=samples)[0]
        expected = reference.step(*views, indices.tolist())
        for mine, theirs in zip(
            torch.autograd.grad(loss, views), torch.autograd.grad(expected, views), strict=True
        ):
            torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)
        estimates = torch.tensor([math.log(s) if s else -math.inf for s in reference.s]).double()
        torch.testing.assert_close(objective.negatives.state.log_mean, estimates, rtol=1e-6, atol=1e-6)
        if learn:
            state = objective.temperature.state
            taus = torch.tensor(reference.tau, dtype=torch.float64)
            torch.testing.assert_close(state.temperature, taus, rtol=0, atol=1e-8)
            momenta = torch.tensor(reference.u, dtype=torch.float64)
            torch.testing.assert_close(state.velocity, momenta, rtol=0, atol=1e-8)
            torch.testing.assert_close(state.log_mean, objective.negatives.state.log_mean)
    if learn:
        assert len(objective.temperature.state.temperature.unique()) > 3


def test_first_sight_is_the_decoupled_loss():
    objective = build(learn=False).train()
    plain = InfoNCE(
        temperature=0.1,
        queue=0,
        batch='views',
        positives=dict(type='densecl.Decoupled'),
        times_temperature=True,
    )
    views = torch.randn(2, BATCH, 5, dtype=torch.float64).requires_grad_()
    samples = Samples(indices=torch.arange(BATCH))
    mine, theirs = (o(*views, samples=samples)[0] for o in (objective, plain))
    torch.testing.assert_close(mine, theirs)
    gradients = [torch.autograd.grad(x, views)[0] for x in (mine, theirs)]
    torch.testing.assert_close(*gradients)
    again = objective(*torch.randn(2, BATCH, 5).double(), samples=samples)[0]
    assert again.isfinite()


def test_cells_of_an_image_share_its_numbers():
    objective = build().train()
    rows = torch.arange(3).repeat_interleave(2)
    query, positive = torch.randn(2, 6, 5, dtype=torch.float64)
    keys, queries = torch.randn(2, 3, 5, dtype=torch.float64)
    indices = torch.tensor([5, 1, 2])
    objective(query, positive, keys, Samples(indices=indices, rows=rows, queries=queries))
    pool = F.normalize(torch.cat([keys, queries]), dim=1)
    for image in range(3):
        means = [
            (pool[[c for c in range(6) if c % 3 != image]] @ F.normalize(query[i], dim=0) / 0.1).exp().mean()
            for i in (2 * image, 2 * image + 1)
        ]
        stored = objective.negatives.state.log_mean[indices[image]]
        torch.testing.assert_close(stored, (sum(means) / 2).log(), rtol=0, atol=1e-9)
    assert objective.negatives.state.log_mean[[0, 3, 4]].isinf().all()


def test_evaluation_changes_nothing_and_state_resumes():
    objective = build().train()
    views = torch.randn(2, BATCH, 5, dtype=torch.float64)
    samples = Samples(indices=torch.arange(BATCH))
    objective(*views, samples=samples)
    saved = {k: v.clone() for k, v in objective.state_dict().items()}
    objective.eval()(*views, samples=samples)
    assert all(torch.equal(v, saved[k]) for k, v in objective.state_dict().items())
    resumed = build().train()
    resumed.load_state_dict(saved)
    objective.train()
    assert resumed(*views, samples=samples)[0] == objective(*views, samples=samples)[0]


def test_small_temperatures_do_not_overflow_and_lonely_images_add_nothing():
    objective = InfoNCE(
        temperature=0.005,
        queue=0,
        batch='keys',
        negatives=dict(type='densecl.MovingAverage', images=IMAGES),
        positives=dict(type='densecl.Decoupled'),
    ).train()
    vectors = torch.ones(BATCH, 5).requires_grad_()
    loss, _ = objective(vectors, vectors, samples=Samples(indices=torch.arange(BATCH)))
    assert loss.isfinite()
    alone = vectors[:1]
    loss, _ = build().train()(alone, alone, samples=Samples(indices=torch.tensor([3])))
    assert loss == 0
    assert torch.autograd.grad(loss, vectors)[0].abs().sum() == 0


def test_errors():
    with pytest.raises(ValueError, match='gamma must lie in'):
        build(gamma=0.0)
    with pytest.raises(ValueError, match='start must lie between the limits'):
        build(start=2.0)
    with pytest.raises(IndexError, match=r'PerSampleTemperature\(images=6\) met image 6'):
        build().train()(torch.ones(1, 5), torch.ones(1, 5), samples=Samples(indices=torch.tensor([6])))
