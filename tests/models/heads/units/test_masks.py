"""Masks as units: DetCon of both encoder pairs against the published loss, what is asked of masks."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from densecl.models.pretrainers import MomentumPretrainer, SharedPretrainer
from densecl.registry import MODELS
from densecl.structures import ViewRegions
from tests.models.heads.made import views_of

B, K = 3, 4


@MODELS.register_module(name='MaskTestBackbone')
class Cellwise(nn.Module):
    """A cell for each 8 x 8 px."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 8, stride=8)

    def forward(self, x):
        return self.conv(x)


def mlp(*channels):
    return dict(type='densecl.MLP', channels=channels, norm=True)


def build(pretrainer=MomentumPretrainer, **options):
    head = dict(
        units='Masks',
        projector=mlp(6, 8, 5),
        matching=dict(type='SameId', share_repeats=True),
        objective=dict(type='densecl.InfoNCE', temperature=0.1, queue=0, batch='units+own'),
        pairs=((0, 1), (1, 0)),
        loss_weight=2.0,
    )
    head.update(options)
    torch.manual_seed(0)
    model = pretrainer(backbone=dict(type='densecl.MaskTestBackbone'), heads=dict(masks=head))
    model.init_weights()
    return model.double().train()


def views(count=2, side=32):
    """Masks of a partition of the cells, drawn with replacement out of those that have a cell."""
    generator = torch.Generator().manual_seed(1)
    grid = side // 8
    owners = torch.randint(0, 5, (count, B, 1, grid, grid), generator=generator)
    ids = torch.randint(0, 5, (count, B, K), generator=generator)
    ids = owners.flatten(3)[:, :, 0].gather(2, ids)  # masks that have a cell
    masks = (owners == ids[..., None, None]).float()
    images = torch.randn(count, B, 3, side, side, dtype=torch.float64, generator=generator)
    found = [ViewRegions(torch.zeros(B, K, 4), i, m) for i, m in zip(ids, masks, strict=True)]
    return views_of(images, regions=dict(masks=found))


def read(encode, projector, batch):
    """Projected masks of both views, one pass a view."""
    found = []
    for images, objects in zip(batch.images, batch.regions['masks'], strict=True):
        (level,) = encode(images)
        rows = [level[b][:, mask].mean(1) for b in range(B) for mask in objects.masks[b].bool()]
        found.append(projector(torch.stack(rows)).view(B, K, -1))
    return found


def direction(query, keys, own, query_ids, key_ids, t=0.1):
    """The official loss of one direction, mask by mask: the label is spread evenly over the same mask in the
    other view; those of the query's own view compete, but for the same mask; a repeated mask counts less."""
    total = 0.0
    for b in range(B):
        for i in range(K):
            logits, label = [], []
            for c in range(B):
                for j in range(K):
                    logits.append(F.cosine_similarity(query[b, i], keys[c, j], 0) / t)
                    label.append(float(c == b and key_ids[c, j] == query_ids[b, i]))
                    same = c == b and query_ids[c, j] == query_ids[b, i]
                    logits.append(F.cosine_similarity(query[b, i], own[c, j], 0) / t - (1e9 if same else 0))
                    label.append(0.0)
            label = torch.tensor(label, dtype=torch.float64)
            if label.sum() > 0:
                share = label / label.sum() / (query_ids[b] == query_ids[b, i]).sum()
                total = total - (share * torch.stack(logits).log_softmax(0)).sum()
    return total / B / K


def summed(queries, predict, keys, batch):
    ids = [objects.ids for objects in batch.regions['masks']]
    predicted = [predict(x.flatten(0, 1)).view_as(x) for x in queries]
    first = direction(predicted[0], keys[1], keys[0], ids[0], ids[1])
    return first + direction(predicted[1], keys[0], keys[1], ids[1], ids[0])


def same_gradients(got, want, parameters):
    mine, theirs = (torch.autograd.grad(x, parameters) for x in (got, want))
    assert all(x.abs().max() > 0 for x in theirs if x.ndim > 1)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_with_a_momentum_target_it_is_detcon_b():
    model, batch = build(predictor=mlp(5, 8, 5)), views()
    head = model.heads['masks']
    with torch.no_grad():  # a target of its own
        for p in model.target.parameters():
            p.add_(torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(2)) * 0.1)
    logged = model.loss(batch)
    queries = read(model.encode, head.projector, batch)
    with torch.no_grad():
        keys = read(model.encode_target, model.target.heads['masks'], batch)
    want = summed(queries, head.predictor, keys, batch)
    torch.testing.assert_close(logged['loss_masks'], want, rtol=1e-9, atol=1e-9)
    same_gradients(logged['loss_masks'], want, [p for p in model.parameters() if p.requires_grad])
    ids = [objects.ids for objects in batch.regions['masks']]
    shared = [(a[..., None] == b[:, None]).any(-1).float().mean() for a, b in (ids, ids[::-1])]
    assert 0 < shared[0] < 1
    torch.testing.assert_close(logged['masks_matched'], sum(shared) / 2)
    rows, valid = model.watched['masks']
    assert rows.shape == (B * K, 5) and not rows.requires_grad and valid.all()


@pytest.mark.parametrize('stop_gradient', [False, True])
def test_with_shared_weights_it_is_detcon_s(stop_gradient):
    model, batch = build(SharedPretrainer, stop_gradient=stop_gradient), views()
    found = read(model.encode, model.heads['masks'].projector, batch)
    keys = [x.detach() for x in found] if stop_gradient else found
    want = summed(found, lambda x: x, keys, batch)
    loss = model.loss(batch)['loss_masks']
    torch.testing.assert_close(loss, want, rtol=1e-9, atol=1e-9)
    same_gradients(loss, want, list(model.parameters()))


def test_an_objective_without_negatives():
    """BYOL's distance of the masks that both views have."""
    options = dict(matching='SameId', objective=dict(type='densecl.Cosine', mean='images'), pairs=((0, 1),))
    model = build(predictor=mlp(5, 8, 5), **options)
    batch, head = views(), model.heads['masks']
    assert head.needed(2) == {'online': {0}, 'target': {1}}
    query = read(model.encode, head.projector, batch)[0]
    query = head.predictor(query.flatten(0, 1)).view_as(query)
    key = read(model.encode_target, model.target.heads['masks'], batch)[1]
    ids = [objects.ids for objects in batch.regions['masks']]
    same = ids[0][:, :, None] == ids[1][:, None]
    cosine = F.cosine_similarity(query[:, :, None], key[:, None], dim=-1)
    want = -2 * sum(cosine[b][same[b]].mean() for b in range(B) if same[b].any()) / B
    assert same.any()
    torch.testing.assert_close(model.loss(batch)['loss_masks'], want, rtol=1e-9, atol=1e-9)


def test_views_that_the_target_sees():
    """The query's own view too, where its masks compete."""
    head = build(pairs=((0, 1),)).heads['masks']
    assert head.needed(2) == {'online': {0}, 'target': {0, 1}}
    with pytest.raises(ValueError, match='need 2 views, the pipeline makes 1'):
        head.needed(1)


def test_errors_say_what_to_do():
    model, batch = build(), views()
    batch.regions['masks'][1].masks = None
    with pytest.raises(ValueError, match=r"'masks' are boxes alone; take dict\(type='SelectMasks'"):
        model.loss(batch)
    batch.regions['masks'] = [None, None]
    with pytest.raises(ValueError, match="view 0 has no regions 'masks'.*type='SelectMasks'"):
        model.loss(batch)
    batch.regions = None
    with pytest.raises(ValueError, match="view 0 has no regions 'masks'"):
        model.loss(batch)
    batch = views(side=48)
    batch.images = [x[..., :32, :] for x in batch.images]
    with pytest.raises(ValueError, match=r'6 x 6 cells, but the level has 4 x 6; .*grid=\(4, 6\)'):
        model.loss(batch)
