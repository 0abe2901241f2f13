"""Image and dense head against the papers' formulas written out."""

import pytest
import torch
import torch.nn.functional as F

from densecl.models.heads import DenseHead, ImageHead
from densecl.models.pretrainers import Branch
from densecl.structures import Views


class Fixed:
    """A branch whose levels are given."""

    joint = False

    def __init__(self, *levels):
        self.levels = [(level,) for level in levels]

    def __getitem__(self, view):
        return self.levels[view]


def views(batch=3, count=2):
    return Views(
        images=[torch.zeros(batch, 3, 8, 8)] * count,
        boxes=[torch.tensor([[0.0, 0, 8, 8]] * batch)] * count,
        flipped=[torch.zeros(batch, dtype=torch.bool)] * count,
        source_sizes=torch.full((batch, 2), 8.0),
        indices=torch.arange(batch),
        paths=[''] * batch,
        photometric=[None] * count,
    )


def objective(queue=11, dim=5):
    return dict(type='densecl.InfoNCE', temperature=0.2, queue=queue, dim=dim)


def dense_head(**kwargs):
    return DenseHead(
        projector=dict(type='densecl.ConvMLP', channels=(6, 7, 5)),
        matching=dict(type='densecl.MostSimilar', of='features'),
        objective=objective(),
        **kwargs,
    ).double()


def cross_entropy_form(q, k, negatives):
    """Cross-entropy over [positive, negatives] with the positive in place 0."""
    q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ negatives.T], 1) / 0.2
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64))


def test_image_head_equals_moco():
    head = ImageHead(
        projector=dict(type='densecl.MLP', channels=(6, 7, 5)), objective=objective()
    ).double()
    target = ImageHead(
        projector=dict(type='densecl.MLP', channels=(6, 7, 5)), objective=objective()
    ).double().projector
    negatives = head.objective.queue.keys.clone()
    a, b = torch.randn(2, 3, 6, 4, 4, dtype=torch.float64)
    result = head.loss(Fixed(a, b), Fixed(a, b), views(), target)
    q, k = head.projector(a.mean((2, 3))), target(b.mean((2, 3)))
    want = cross_entropy_form(q, k, negatives)
    torch.testing.assert_close(result['loss'], want, rtol=0, atol=1e-9)
    torch.testing.assert_close(head.objective.queue.keys[:3], F.normalize(k, dim=1).detach())
    mine = torch.autograd.grad(result['loss'], list(head.projector.parameters()))
    theirs = torch.autograd.grad(want, list(head.projector.parameters()))
    for x, y in zip(mine, theirs, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-9)


def test_dense_head_equals_densecl():
    """Matching on backbone features, contrast on projections, queue of pooled projected keys."""
    head, target = dense_head(), dense_head().projector
    negatives = head.objective.queue.keys.clone()
    a, b = torch.randn(2, 3, 6, 2, 3, dtype=torch.float64)
    result = head.loss(Fixed(a, b), Fixed(a, b), views(), target)

    q, k = head.projector(a), target(b)
    queries, positives = [], []
    for image in range(3):
        for i in range(6):
            y, x = divmod(i, 3)
            cosines = [
                F.cosine_similarity(a[image, :, y, x], b[image, :, j // 3, j % 3], dim=0)
                for j in range(6)
            ]
            best = int(torch.stack(cosines).argmax())
            queries.append(q[image, :, y, x])
            positives.append(k[image, :, best // 3, best % 3])
    want = cross_entropy_form(torch.stack(queries), torch.stack(positives).detach(), negatives)
    torch.testing.assert_close(result['loss'], want, rtol=0, atol=1e-9)
    mine = torch.autograd.grad(result['loss'], list(head.projector.parameters()))
    theirs = torch.autograd.grad(want, list(head.projector.parameters()))
    for x, y in zip(mine, theirs, strict=True):
        torch.testing.assert_close(x, y, rtol=0, atol=1e-9)
    # one key an image: pooled first, normalised after
    pooled = F.normalize(k.mean((2, 3)), dim=1).detach()
    torch.testing.assert_close(head.objective.queue.keys[:3], pooled)
    assert torch.equal(head.objective.queue.keys[3:], negatives[3:])


def test_matching_does_not_look_at_projections():
    """Two backbones maps that agree decide, even where the projections disagree."""
    head = dense_head()
    target = dense_head().projector
    a = torch.randn(2, 6, 2, 2, dtype=torch.float64)
    order = torch.tensor([2, 0, 3, 1])
    b = a.flatten(2)[:, :, order].view_as(a)
    seen = {}
    head.objective.forward = lambda q, k, new_keys, samples: (
        seen.update(q=q, k=k) or (q.sum(), {})
    )
    head.loss(Fixed(a, b), Fixed(a, b), views(2), target)
    want = target(a).permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(seen['k'], want)


def test_grid_pools_features_and_projections_alike():
    head, target = dense_head(grid=2), dense_head().projector
    a, b = torch.randn(2, 3, 6, 4, 4, dtype=torch.float64)
    small_a, small_b = F.adaptive_avg_pool2d(a, 2), F.adaptive_avg_pool2d(b, 2)
    queue = head.objective.queue.state_dict()
    queue = {k: v.clone() for k, v in queue.items()}
    first = head.loss(Fixed(a, b), Fixed(a, b), views(), target)['loss']
    head.objective.queue.load_state_dict(queue)
    head.grid = None
    second = head.loss(Fixed(small_a, small_b), Fixed(small_a, small_b), views(), target)['loss']
    torch.testing.assert_close(first, second)


def test_several_pairs_are_averaged():
    head = dense_head(pairs=((0, 1), (1, 0)))
    head.eval()  # the queue stands still
    target = dense_head().projector
    a, b = torch.randn(2, 3, 6, 2, 2, dtype=torch.float64)
    both = head.loss(Fixed(a, b), Fixed(a, b), views(), target)['loss']
    head.pairs = ((0, 1),)
    one = head.loss(Fixed(a, b), Fixed(a, b), views(), target)['loss']
    other = head.loss(Fixed(b, a), Fixed(b, a), views(), target)['loss']
    torch.testing.assert_close(both, (one + other) / 2)


def test_no_gradient_reaches_the_target():
    head, target = dense_head(), dense_head().projector
    a, b = torch.randn(2, 3, 6, 2, 2, dtype=torch.float64).requires_grad_()
    loss = head.loss(Fixed(a, b), Fixed(a, b), views(), target)['loss']
    gradient = torch.autograd.grad(loss, b, allow_unused=True)[0]
    assert gradient is None or gradient.abs().sum() == 0
    assert all(p.grad is None for p in target.parameters())


def test_warm_up_and_weight():
    head = dense_head(loss_weight=0.5, warmup_steps=10)
    assert [head.weight(step) for step in (0, 9, 10, 1000)] == [0, 0, 0.5, 0.5]


def test_missing_views_are_named():
    head = dense_head(pairs=((0, 2),))
    with pytest.raises(ValueError, match='need 3 views, the pipeline makes 2'):
        head.loss(Fixed(), Fixed(), views(), head.projector)


def test_a_branch_encodes_each_view_once_and_only_if_asked():
    calls = []

    def encode(images):
        calls.append(images)
        return (images,)

    batch = views()
    branch = Branch(encode, batch)
    assert branch[1] is branch[1]
    assert len(calls) == 1
    assert calls[0] is batch.images[1]
