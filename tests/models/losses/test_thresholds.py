"""GloFND's thresholds against its update written out."""

import pytest
import torch
import torch.nn.functional as F

from densecl.models.losses import GloFND, InfoNCE, Samples
from densecl.schedule import Clock

T = 0.3


def build(share=0.2, lr=0.05, start=0, images=6, **kwargs):
    negatives = dict(type='densecl.GloFND', images=images, share=share, lr=lr, start=start, **kwargs)
    return InfoNCE(temperature=T, queue=0, batch='views', negatives=negatives).double().train()


def cosines_of(query, key):
    """Per query: cosine with the positive, and those with both views of other images."""
    query, key = F.normalize(query, dim=1), F.normalize(key, dim=1)
    found = []
    for i in range(len(query)):
        other = torch.arange(len(query)) != i
        found.append((query[i] @ key[i], torch.cat([key[other], query[other]]) @ query[i]))
    return found


class Reference:
    """Thresholds with Adam whose bias correction counts epochs, one number at a time."""

    def __init__(self, share, lr):
        self.share, self.lr = share, lr
        self.numbers = {i: [1.0, 0.0, 0.0] for i in range(6)}

    def step(self, views, indices, epoch):
        """The loss of both directions, each filtered by the old thresholds; then one update."""
        old = {i: self.numbers[i][0] for i in indices}
        total = 0.0
        shares = {i: [] for i in indices}
        for query, key in (views, views[::-1]):
            for i, (p, s) in zip(indices, cosines_of(query, key), strict=True):
                kept = s[s <= old[i]]
                total = total + torch.cat([p[None], kept]).div(T).logsumexp(0) - p / T
                shares[i].append(float((s > old[i]).double().mean()))
        for i in indices:
            g = self.share - sum(shares[i]) / 2
            value, m, v = self.numbers[i]
            m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g * g
            corrected = (m / (1 - 0.9 ** (epoch + 1))) / ((v / (1 - 0.98 ** (epoch + 1))) ** 0.5 + 1e-8)
            self.numbers[i] = [min(1.0, max(-1.0, value - self.lr * corrected)), m, v]
        return total / len(indices)


def test_loss_and_thresholds_over_steps():
    objective, reference = build(lr=0.3), Reference(0.2, 0.3)
    clock = Clock(epoch=2)
    objective.negatives.clock = objective.negatives.state.clock = clock
    filtered = False
    for step in range(8):
        clock.step = step
        views = torch.randn(2, 4, 5, dtype=torch.float64)
        indices = torch.randperm(6)[:4]
        samples = Samples(indices=indices)
        loss = objective(*views, samples=samples)[0] + objective(*views.flip(0), samples=samples)[0]
        expected = reference.step(list(views), indices.tolist(), step // 2)
        torch.testing.assert_close(loss, expected, rtol=0, atol=1e-9)
        state = objective.negatives.state
        mine = torch.stack([state.threshold, state.first_moment, state.second_moment], 1)
        theirs = torch.tensor([reference.numbers[i] for i in range(6)], dtype=torch.float64)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)
        filtered |= bool((state.threshold < 0.5).any())
    assert filtered


def test_thresholds_settle_where_the_share_exceeds_them():
    objective = build(share=0.25, lr=0.01, images=40)
    views = torch.randn(2, 40, 8, dtype=torch.float64)
    clock = Clock(epoch=1)
    objective.negatives.clock = objective.negatives.state.clock = clock
    for clock.step in range(300):
        objective(*views, samples=Samples(indices=torch.arange(40)))
    thresholds = objective.negatives.state.threshold
    above = [
        (s > t).double().mean() for t, (_, s) in zip(thresholds, cosines_of(*views), strict=True)
    ]
    assert float(torch.stack(above).mean()) == pytest.approx(0.25, abs=0.02)


def test_nothing_happens_before_the_start():
    objective = build(start=2)
    objective.negatives.clock = clock = Clock(step=5, epoch=3)
    views = torch.randn(2, 4, 5, dtype=torch.float64)
    samples = Samples(indices=torch.arange(4))
    with torch.no_grad():
        objective.negatives.state.threshold.fill_(-1.0)  # would leave no negative at all
    assert objective(*views, samples=samples)[0] > 0
    assert (objective.negatives.state.second_moment == 0).all()
    clock.step = 6
    assert objective(*views, samples=samples)[0] == 0
    assert (objective.negatives.state.second_moment[:4] > 0).all()


def test_cells_share_their_image_s_threshold():
    objective = build()
    rows = torch.arange(3).repeat_interleave(2)
    query, positive = torch.randn(2, 6, 5, dtype=torch.float64)
    keys, queries = torch.randn(2, 3, 5, dtype=torch.float64)
    samples = Samples(indices=torch.tensor([4, 0, 2]), rows=rows, queries=queries)
    thresholds = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.0, 0.6], dtype=torch.float64)
    objective.negatives.state.threshold.copy_(thresholds)
    pool = F.normalize(torch.cat([keys, queries]), dim=1)
    expected, shares = [], []
    for i, image in enumerate(rows.tolist()):
        q, p = F.normalize(query[i], dim=0), F.normalize(positive[i], dim=0)
        s = pool[[c for c in range(6) if c % 3 != image]] @ q
        limit = thresholds[samples.indices[image]]
        expected.append(torch.cat([(q @ p)[None], s[s <= limit]]).div(T).logsumexp(0) - q @ p / T)
        shares.append((s > limit).double().mean())
    loss, _ = objective(query, positive, keys, samples)
    torch.testing.assert_close(loss, torch.stack(expected).mean(), rtol=0, atol=1e-9)
    moments = objective.negatives.state.first_moment[samples.indices]
    means = torch.stack(shares).view(3, 2).mean(1)
    torch.testing.assert_close(moments, 0.1 * (0.2 - means), rtol=0, atol=1e-9)


def test_errors():
    with pytest.raises(ValueError, match='share must lie in'):
        build(share=0.0)
    with pytest.raises(ValueError, match='GloFND: images must be at least 1'):
        build(images=0)


def test_the_data_set_says_how_many_images_there_are():
    choice = GloFND(images=None)
    choice.state.set_images(7)
    assert choice.state.threshold.tolist() == [1.0] * 7
    choice.state.set_images(5)  # more than enough: as it was
    with pytest.raises(ValueError, match='GloFND keeps state for 7 images, the data set has 8'):
        choice.state.set_images(8)
