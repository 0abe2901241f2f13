"""Both players in one step, against two optimisers' losses written out."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from densecl.models.backbones import Discriminator
from densecl.models.losses import Adversarial
from densecl.models.losses.adversarial import adversarial_losses
from densecl.structures import Comparison

GRID = (8, 8)


@pytest.fixture
def player():
    torch.manual_seed(0)
    return Discriminator((3, 4, 5), grid=2).double().train()


@pytest.fixture
def images():
    return torch.randn(
        2, 3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    ).unbind()


def cross_entropies(logits, real):
    """The mean of -log p, or of -log(1 - p)."""
    values = [math.log(1 + math.exp(-x if real else x)) for x in logits.flatten().tolist()]
    return sum(values) / len(values)


def test_values(player, images):
    own, passing, _ = adversarial_losses(player, *images)
    real, made = (player(x) for x in images)
    assert own.item() == pytest.approx(cross_entropies(real, True) + cross_entropies(made, False), rel=1e-10)
    assert passing.item() == pytest.approx(cross_entropies(made, True), rel=1e-10)


def test_gradients_are_those_of_two_optimisers(player, images):
    """One backward pass of the sum; then each player by itself, the other held still."""
    real, made = images[0], images[1].requires_grad_()
    own, passing, _ = adversarial_losses(player, real, made)
    (own + 0.1 * passing).backward()
    got = [p.grad.clone() for p in player.parameters()]
    entropy = nn.BCELoss()
    of_real, of_made = player(real).sigmoid(), player(made.detach()).sigmoid()
    loss = entropy(of_real, torch.ones_like(of_real)) + entropy(of_made, torch.zeros_like(of_made))
    for found, want in zip(got, torch.autograd.grad(loss, list(player.parameters())), strict=True):
        torch.testing.assert_close(found, want)
    player.requires_grad_(False)
    judged = player(made).sigmoid()
    (want,) = torch.autograd.grad(entropy(judged, torch.ones_like(judged)), made)
    torch.testing.assert_close(made.grad, 0.1 * want)


def test_each_step_goes_its_own_way(player, images):
    """Against its gradient the discriminator tells them better, and what is made passes more easily."""
    player.eval()  # batch statistics of a changed image would move the others
    real, made = images[0], images[1].requires_grad_()
    own, passing, before = adversarial_losses(player, real, made)
    (own + passing).backward()
    with torch.no_grad():
        assert player(made - made.grad).mean() > before.mean()
        for parameter in player.parameters():
            parameter -= 0.01 * parameter.grad
        assert adversarial_losses(player, real, made)[0] < own


def compared(images, valid=None):
    rows = [x.flatten(2).transpose(1, 2) for x in images]
    comparison = Comparison.of_sets(rows[1], rows[0])
    comparison.match.valid, comparison.query.place = valid, SimpleNamespace(grid=GRID)
    return comparison


def test_it_sees_the_hole_among_true_pixels(player, images):
    hole = torch.zeros(3, *GRID, dtype=torch.bool)
    hole[:, 2:5, 3:7] = True
    objective = Adversarial(
        dict(type='densecl.Discriminator', channels=(3, 4, 5), grid=2), weight=0.5
    ).double()
    objective.discriminator = player
    loss, log = objective.score(compared(images, hole.flatten(1)))
    filled = torch.where(hole[:, None], images[1], images[0])
    own, passing, logits = adversarial_losses(player, images[0], filled)
    torch.testing.assert_close(loss, own + 0.5 * passing)
    torch.testing.assert_close(log['discriminator'], own.detach())
    torch.testing.assert_close(log['fooled'], logits.sigmoid().mean())


def test_or_the_middle_as_it_is_predicted(images):
    config = dict(type='densecl.Discriminator', channels=(3, 4), grid=2)
    objective = Adversarial(config, size=4).double()
    made = images[1].requires_grad_()
    objective.score(compared((images[0], made)))[0].backward()
    seen = made.grad.abs().sum((0, 1)) > 0
    assert seen[2:6, 2:6].all() and seen.sum() == 16


def test_half_precision_keeps_the_gradients(images):
    config = dict(type='densecl.Discriminator', channels=(3, 4), grid=2)
    objective, made = Adversarial(config), images[1].float().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        loss, _ = objective.score(compared((images[0].float(), made)))
    loss.backward()
    assert loss.dtype == torch.float32 and made.grad.isfinite().all()
    assert all(p.grad.abs().max() > 0 for p in objective.parameters())
