"""MoCHi's mixtures against loops that use the same draws."""

import pytest
import torch
import torch.nn.functional as F
from oracles.comparisons import compare

from densecl.models.losses import InfoNCE, masses
from densecl.schedule import Clock

HARDEST, PAIRS, WITH_QUERY, T = 3, 4, 2, 0.3


def build(queue=9, batch=None, **kwargs):
    negatives = dict(type='densecl.Mixing', hardest=HARDEST, pairs=PAIRS, with_query=WITH_QUERY, start=0)
    negatives.update(kwargs)
    objective = InfoNCE(temperature=T, queue=queue, dim=4, batch=batch, negatives=negatives).double()
    if queue:
        objective.queue.keys.copy_(F.normalize(objective.queue.keys, dim=1))
    return objective


def leaves(n=5):
    return [torch.randn(n, 4, dtype=torch.float64).requires_grad_() for _ in 'qk']


def loops(query, positive, pool, draws):
    """The loss, a query and a mixture at a time; ``pool`` holds each query's negatives."""
    losses = []
    for q, p, negatives, u in zip(
        F.normalize(query, dim=1), F.normalize(positive, dim=1), pool, draws, strict=True
    ):
        fixed = negatives.detach()
        hardest = fixed[(fixed @ q.detach()).argsort(descending=True)[:HARDEST]]
        places = (u[: 2 * PAIRS + WITH_QUERY] * len(hardest)).long()
        first, second, other = places.split([PAIRS, PAIRS, WITH_QUERY])
        shares, own_shares = u[2 * PAIRS + WITH_QUERY :].split([PAIRS, WITH_QUERY])
        mixtures = [
            a * hardest[i] + (1 - a) * hardest[j] for a, i, j in zip(shares, first, second, strict=True)
        ]
        mixtures += [
            b / 2 * q.detach() + (1 - b / 2) * hardest[j] for b, j in zip(own_shares, other, strict=True)
        ]
        cosines = [n @ q for n in negatives] + [F.normalize(m, dim=0) @ q for m in mixtures]
        mass = sum((c / T).exp() for c in cosines)
        positive_mass = (q @ p / T).exp()
        losses.append(-torch.log(positive_mass / (positive_mass + mass)))
    return torch.stack(losses).mean()


@pytest.mark.parametrize('chunk', [1, 2**22])
@pytest.mark.parametrize('where', ['queue', 'keys'])
def test_value_and_gradients(monkeypatch, where, chunk):
    monkeypatch.setattr(masses, 'CHUNK', chunk)
    objective = build() if where == 'queue' else build(queue=0, batch='keys')
    query, positive = inputs = leaves()
    if where == 'queue':
        pool = [objective.queue.keys.clone()] * 5
    else:
        keys = F.normalize(positive, dim=1)
        pool = [keys[[j for j in range(5) if j != i]] for i in range(5)]
    torch.manual_seed(3)
    loss, diagnostics = objective.score(compare(query, positive))
    torch.manual_seed(3)
    draws = torch.rand(5, 3 * PAIRS + 2 * WITH_QUERY, dtype=torch.float64)
    expected = loops(query, positive, pool, draws)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-9)
    for mine, theirs in zip(
        torch.autograd.grad(loss, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)
    assert 0 <= float(diagnostics['top1']) <= 1


def test_mixtures_raise_the_loss_once_they_start():
    query, positive = (x.detach() for x in leaves())
    objective = build(start=2, unit='epoch').eval()
    plain = InfoNCE(temperature=T, queue=9, dim=4).double().eval()
    plain.queue.load_state_dict(objective.queue.state_dict())
    before = plain.score(compare(query, positive))[0]
    objective.mass.clock = Clock(step=7, total=40, epoch=4)
    assert objective.score(compare(query, positive))[0] == before
    objective.mass.clock.step = 8
    assert objective.score(compare(query, positive))[0] > before


def test_fewer_negatives_than_hardest():
    """Two images of three cells: three of the candidates are of the other image, none of one's own."""
    objective = build(queue=0, batch='views', hardest=4)
    query, positive = leaves(6)
    keys, queries = leaves(2)
    loss, _ = objective.score(compare(query, positive, keys=keys, queries=queries))
    loss.backward()
    assert all(x.grad.isfinite().all() for x in (query, positive, keys, queries))
    alone = build(queue=0, batch='keys', hardest=1)  # an image alone has no negatives at all
    loss, _ = alone.score(compare(query[:1], positive[:1]))
    assert loss == 0


def test_errors():
    with pytest.raises(ValueError, match='only 9 candidates'):
        build(hardest=10).score(compare(*leaves()))
    with pytest.raises(ValueError, match="unit must be 'epoch'"):
        build(unit='year')
    with pytest.raises(ValueError, match='at least 1, got hardest=0'):
        build(hardest=0)
    with pytest.raises(ValueError, match="batch must not be 'image' or 'others'"):
        build(queue=9, batch='image').score(compare(*leaves()))
    with pytest.raises(RuntimeError, match='Mixing.start'):
        build(start=1).score(compare(*leaves()))
