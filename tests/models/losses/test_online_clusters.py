"""Online clusters: the value by hand, and who learns what."""

import pytest
import torch

from densecl.models.losses import OnlineClusters
from densecl.structures import Comparison

K, D = 5, 6


def sides(batch=4, units=3):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(batch, units, K, generator=generator, dtype=torch.float64, requires_grad=True)
    keys = torch.randn(batch, units, D, generator=generator, dtype=torch.float64, requires_grad=True)
    valid = torch.rand(batch, units, generator=generator) < 0.6
    return scores, keys, valid


def build(**kwargs):
    torch.manual_seed(0)
    return OnlineClusters(D, K, **kwargs).double()


def score(objective, scores, keys, valid):
    comparison = Comparison.of_sets(scores, keys)
    comparison.match.valid = valid
    return objective.score(comparison)


def shares(rows):
    """Sinkhorn's three iterations in the order of SwAV, of (n, K) scores."""
    found = (rows / 0.06).exp()
    for _ in range(3):
        found = found / found.sum(0, keepdim=True)
        found = found / found.sum(1, keepdim=True)
    return found


@pytest.mark.parametrize('position_wise', [True, False])
def test_the_value(position_wise):
    objective, (scores, keys, valid) = build(position_wise=position_wise), sides()
    loss, said = score(objective, scores, keys, valid)
    layer, unit = objective.clusters, keys / keys.norm(dim=2, keepdim=True)
    logits = (unit @ layer.weight.T + layer.bias).detach()
    if position_wise:
        assigned = torch.stack([shares(logits[:, place]) for place in range(3)], 1)
    else:
        assigned = shares(logits.flatten(0, 1)).view(4, 3, K)
    own = -(assigned * (logits / 0.12).log_softmax(2)).sum(2)
    terms = -(assigned * (scores.detach() / 0.12).log_softmax(2)).sum(2)
    assert said['clusters'].item() == pytest.approx(own.mean().item(), rel=1e-9)
    assert loss.item() == pytest.approx((own.mean() + terms[valid].mean()).item(), rel=1e-9)


def test_the_clusters_learn_from_keys_and_the_queries_from_assignments():
    objective, (scores, keys, valid) = build(), sides()
    loss, _ = score(objective, scores, keys, valid)
    loss.backward()
    assert keys.grad is None
    assert torch.equal(scores.grad.abs().sum(2) > 0, valid)
    alone = build()
    alone_loss, said = score(alone, scores.detach(), keys.detach(), valid)
    alone_loss.backward()
    torch.testing.assert_close(alone.clusters.weight.grad, objective.clusters.weight.grad)
    assert objective.clusters.weight.grad.abs().max() > 0


def test_it_learns_clusters_that_are_there():
    """Three far groups of keys: after some steps each has a cluster of its own, but for single keys."""
    torch.manual_seed(0)
    groups = torch.eye(D, dtype=torch.float64)[:3].repeat_interleave(8, 0)
    keys = (groups + 0.05 * torch.randn(24, D, dtype=torch.float64))[:, None]
    objective = OnlineClusters(D, 3, position_wise=False).double()
    optimizer = torch.optim.AdamW(objective.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss, said = score(objective, torch.zeros(24, 1, 3, dtype=torch.float64), keys, None)
        loss.backward()
        optimizer.step()
    best = objective.clusters(keys / keys.norm(dim=2, keepdim=True)).argmax(2).view(3, 8)
    most = best.mode(1, keepdim=True).values
    assert len(most.unique()) == 3 and (best == most).sum() >= 21  # of 24


def test_what_it_refuses():
    with pytest.raises(ValueError, match='temperatures must be > 0, got 0.12 and 0'):
        OnlineClusters(D, K, assignment_temperature=0)
    with pytest.raises(ValueError, match='clusters=5, but the projector gives 6 scores'):
        score(build(), *(torch.zeros(1, 2, 6, dtype=torch.float64),) * 2, None)
