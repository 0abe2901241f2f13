"""Support views reach the objective, projected by the target without gradient, each by itself."""

import copy

import pytest
import torch

from densecl.structures import Batch, Comparison
from tests.models.heads.made import CHANNELS, DIM, Fixed, build, make_views, maps, score

NEGATIVES = dict(type='densecl.SimilarImages', top=2, threshold=0.0)
OBJECTIVE = dict(type='densecl.InfoNCE', queue=0, batch='views', negatives=NEGATIVES)


def head_of(**kwargs):
    projector = dict(type='densecl.MLP', channels=(CHANNELS, DIM))
    return build('densecl.Image', OBJECTIVE, 'densecl.SameRow', projector=projector, **kwargs)


def test_loss_is_the_objective_with_the_support_s_projections():
    head, target = head_of(support=(2, 3)), head_of().projector
    online, momentum = maps(4, batch=5), maps(4, batch=5, seed=7)
    views = make_views(count=4, batch=5)
    branches = Fixed(*online), Fixed(*momentum, gradient=False)
    loss = head.loss(*branches, views, Batch.of(views), target).loss
    pooled = [level.detach().mean((2, 3)) for level in momentum]
    support = torch.stack([target(pooled[v]) for v in (2, 3)]).detach()
    query, key = head.projector(online[0].mean((2, 3))), target(pooled[1]).detach()
    comparison = Comparison.of_rows(query, key, Batch.of(views))
    without, _ = head.objective.score(comparison)
    comparison.support = support
    expected, _ = head.objective.score(comparison)
    torch.testing.assert_close(loss, expected)
    assert loss != without
    loss.backward()
    assert online[0].grad.abs().max() > 0
    assert all(level.grad is None for level in (*online[1:], *momentum))


def test_a_shared_branch_gives_support_no_gradient():
    """A view that is compared, too, gets all of its gradient and no more."""
    head, views = head_of(support=(0, 1, 2)), make_views(count=3)
    levels = maps(3)
    frozen = copy.deepcopy(head.objective)
    grads = torch.autograd.grad(score(head, levels, views).loss, levels, allow_unused=True)
    z = [head.projector(x.mean((2, 3))) for x in levels]
    comparison = Comparison.of_rows(z[0], z[1], Batch.of(views))
    comparison.support = torch.stack(z).detach()
    want = torch.autograd.grad(frozen.score(comparison)[0], levels, allow_unused=True)
    assert grads[2] is None and want[2] is None
    for x, y in zip(grads[:2], want[:2], strict=True):
        torch.testing.assert_close(x, y)


def test_too_few_views():
    with pytest.raises(ValueError, match=r'support \(3,\) needs 4 views, the pipeline makes 3'):
        score(head_of(support=(3,)), maps(3), make_views(count=3))
