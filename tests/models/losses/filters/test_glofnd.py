"""GloFND's thresholds against its update written out."""

import pytest
import torch
import torch.nn.functional as F
from oracles.comparisons import compare, part, set_clock, step
from oracles.per_image import Thresholds, cosines_of

from densecl.models.losses import GloFND, InfoNCE
from densecl.schedule import Clock

T = 0.3


def build(share=0.2, lr=0.05, start=0, images=6, **kwargs):
    negatives = dict(type='densecl.GloFND', images=images, share=share, lr=lr, start=start, **kwargs)
    return InfoNCE(temperature=T, queue=0, batch='views', negatives=negatives).double().train()


def state_of(objective):
    return part(objective, GloFND).state


@pytest.mark.parametrize('repeated', [False, True])
def test_loss_and_thresholds_over_steps(repeated):
    objective, reference = build(lr=0.3), Thresholds(6, 0.2, 0.3, T)
    clock = set_clock(objective, Clock(epoch=2))
    filtered = False
    for clock.step in range(8):
        views = torch.randn(2, 4, 5, dtype=torch.float64)
        indices = torch.randint(6, (4,)) if repeated else torch.randperm(6)[:4]
        loss = step(objective, compare(*views, indices), compare(*views.flip(0), indices))
        expected = reference.step(list(views), indices.tolist(), clock.step // 2)
        torch.testing.assert_close(loss, expected, rtol=0, atol=1e-9)
        state = state_of(objective)
        mine = torch.stack([state.threshold, state.first_moment, state.second_moment], 1)
        theirs = torch.tensor([reference.numbers[i] for i in range(6)], dtype=torch.float64)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)
        filtered |= bool((state.threshold < 0.5).any())
    assert filtered


def test_thresholds_settle_where_the_share_exceeds_them():
    objective = build(share=0.25, lr=0.01, images=40)
    views = torch.randn(2, 40, 8, dtype=torch.float64)
    clock = set_clock(objective, Clock(epoch=1))
    for clock.step in range(300):
        step(objective, compare(*views, torch.arange(40)))
    thresholds = state_of(objective).threshold
    above = [(s > t).double().mean() for t, (_, s) in zip(thresholds, cosines_of(*views), strict=True)]
    assert float(torch.stack(above).mean()) == pytest.approx(0.25, abs=0.02)


def test_nothing_happens_before_the_start():
    objective = build(start=2)
    clock = set_clock(objective, Clock(step=5, epoch=3))
    comparison = compare(*torch.randn(2, 4, 5, dtype=torch.float64), torch.arange(4))
    state_of(objective).threshold.fill_(-1.0)  # would leave no negative at all
    assert step(objective, comparison) > 0
    assert (state_of(objective).second_moment == 0).all()
    clock.step = 6
    assert step(objective, comparison) == 0
    assert (state_of(objective).second_moment[:4] > 0).all()


def test_cells_share_their_image_s_threshold():
    objective = build()
    query, positive = torch.randn(2, 6, 5, dtype=torch.float64)
    keys, queries = torch.randn(2, 3, 5, dtype=torch.float64)
    indices = torch.tensor([4, 0, 2])
    thresholds = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.0, 0.6], dtype=torch.float64)
    state_of(objective).threshold.copy_(thresholds)
    pool = F.normalize(torch.cat([keys, queries]), dim=1)
    expected, shares = [], []
    for i in range(6):
        image = i // 2
        q, p = F.normalize(query[i], dim=0), F.normalize(positive[i], dim=0)
        s = pool[[c for c in range(6) if c % 3 != image]] @ q
        limit = thresholds[indices[image]]
        expected.append(torch.cat([(q @ p)[None], s[s <= limit]]).div(T).logsumexp(0) - q @ p / T)
        shares.append((s > limit).double().mean())
    loss = step(objective, compare(query, positive, indices, keys, queries))
    torch.testing.assert_close(loss, torch.stack(expected).mean(), rtol=0, atol=1e-9)
    moments = state_of(objective).first_moment[indices]
    means = torch.stack(shares).view(3, 2).mean(1)
    torch.testing.assert_close(moments, 0.1 * (0.2 - means), rtol=0, atol=1e-9)


def test_thresholds_look_at_all_candidates_the_mass_at_those_that_are_left():
    average = dict(type='densecl.MovingAverage', images=6)
    filtered = dict(type='densecl.GloFND', images=6, start=0)
    objective = InfoNCE(temperature=T, queue=0, batch='views', negatives=[filtered, average])
    objective.double().train()
    state_of(objective).threshold.fill_(0.1)
    views = torch.randn(2, 4, 5, dtype=torch.float64)
    step(objective, compare(*views, torch.arange(4)))
    for i, (_, s) in enumerate(cosines_of(*views)):
        left, above = s[s <= 0.1], (s > 0.1).double().mean()
        assert 0 < len(left) < len(s)
        got = objective.mass.state.log_mean[i]
        torch.testing.assert_close(got, left.div(T).exp().mean().log(), rtol=0, atol=1e-9)
        moment = state_of(objective).first_moment[i]
        torch.testing.assert_close(moment, 0.1 * (0.01 - above), rtol=0, atol=1e-9)


def test_errors():
    with pytest.raises(ValueError, match='share must lie in'):
        build(share=0.0)
    with pytest.raises(ValueError, match='GloFND: images must be at least 1'):
        build(images=0)
