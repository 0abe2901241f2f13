"""Support views of the image head reach its objective, projected by the target without gradient."""

import pytest
import torch

from densecl.models.heads import ImageHead
from densecl.models.losses import Samples
from densecl.structures import Views


class Fixed:
    """A branch whose levels are given."""

    joint = False

    def __init__(self, levels):
        self.levels = levels

    def __getitem__(self, view):
        return (self.levels[view],)

    def apart(self):
        return self


def batch(count, size=5):
    return Views(
        images=[torch.zeros(size, 3, 8, 8)] * count,
        boxes=[torch.zeros(size, 4)] * count,
        flipped=[torch.zeros(size, dtype=torch.bool)] * count,
        source_sizes=torch.ones(size, 2),
        indices=torch.arange(size),
        paths=[''] * size,
        photometric=[None] * count,
    )


def build(**kwargs):
    negatives = dict(type='densecl.SimilarImages', top=2, threshold=0.0)
    return ImageHead(
        projector=dict(type='densecl.MLP', channels=(6, 4)),
        objective=dict(type='densecl.InfoNCE', queue=0, batch='views', negatives=negatives),
        **kwargs,
    ).double()


def test_loss_is_the_objective_with_the_support_s_projections():
    head, target = build(support=(2, 3)), build()
    online, momentum = (
        Fixed([torch.randn(5, 6, 2, 2, dtype=torch.float64).requires_grad_() for _ in range(4)])
        for _ in 'ot'
    )
    loss = head.loss(online, momentum, batch(4), target.projector)['loss']
    pooled = [level.mean((2, 3)) for level in momentum.levels]
    support = torch.stack([target.projector(pooled[v]) for v in (2, 3)])
    query = head.projector(online.levels[0].mean((2, 3)))
    key = target.projector(pooled[1]).detach()
    expected, _ = head.objective(query, key, samples=Samples(support=support))
    without, _ = head.objective(query, key)
    torch.testing.assert_close(loss, expected)
    assert loss != without
    loss.backward()
    assert online.levels[0].grad is not None
    assert all(level.grad is None for level in momentum.levels)


def test_too_few_views():
    levels = Fixed([torch.zeros(5, 6, 2, 2).double()] * 3)
    head = build(support=(3,))
    with pytest.raises(ValueError, match=r'support \(3,\) needs 4 views, the pipeline makes 3'):
        head.loss(levels, levels, batch(3), head.projector)
