"""DetCon's head: means over masks, both encoder pairs, what is asked of views and masks."""

import pytest
import torch
import torch.nn.functional as F
from densecl.models.heads.masks import pool_masks
from torch import nn

from densecl.models.losses.functional import mask_contrast
from densecl.models.pretrainers import MomentumPretrainer, SharedPretrainer
from densecl.registry import MODELS
from densecl.structures import ViewProposals, Views

B, K, GRID = 3, 4, 4


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
        type='densecl.MaskHead',
        projector=mlp(6, 8, 5),
        objective=dict(type='densecl.MaskContrast'),
        loss_weight=2.0,
    )
    head.update(options)
    torch.manual_seed(0)
    model = pretrainer(backbone=dict(type='densecl.MaskTestBackbone'), heads=dict(masks=head))
    model.init_weights()
    return model.double().train()


def views(count=2, side=32):
    generator = torch.Generator().manual_seed(1)
    grid = side // 8
    owners = torch.randint(0, 5, (count, B, 1, grid, grid), generator=generator)
    ids = torch.randint(0, 5, (count, B, K), generator=generator)
    ids = owners.flatten(3)[:, :, 0].gather(2, ids)  # masks that have a cell
    masks = (owners == ids[..., None, None]).float()
    return Views(
        images=list(torch.randn(count, B, 3, side, side, dtype=torch.float64, generator=generator)),
        boxes=[torch.zeros(B, 4)] * count,
        flipped=[torch.zeros(B, dtype=torch.bool)] * count,
        source_sizes=torch.ones(B, 2),
        indices=torch.arange(B),
        paths=[''] * B,
        photometric=[None] * count,
        proposals=[ViewProposals(torch.zeros(B, K, 4), i, m) for i, m in zip(ids, masks, strict=True)],
    )


def test_the_mean_over_a_mask():
    generator = torch.Generator().manual_seed(0)
    level = torch.randn(2, 5, 3, 4, dtype=torch.float64, generator=generator)
    hard = torch.rand(2, 6, 3, 4, generator=generator) < 0.4
    hard[0, 0], hard[1, 2] = False, True
    found = pool_masks(level, hard.float())
    assert (found[0, 0] == 0).all()
    torch.testing.assert_close(found[1, 2], level[1].mean((1, 2)))
    torch.testing.assert_close(found[1, 3], level[1][:, hard[1, 3]].mean(1))
    soft = torch.rand(2, 6, 3, 4, dtype=torch.float64, generator=generator) * 0.01
    want = (level[:, None] * soft[:, :, None]).sum((3, 4)) / soft.sum((2, 3))[..., None]
    torch.testing.assert_close(pool_masks(level, soft), want)
    assert pool_masks(level.bfloat16(), hard.float()).dtype == torch.float32


def reference(encode, projector, batch):
    """Projected masks of both views, one pass a view."""
    found = []
    for images, objects in zip(batch.images, batch.proposals, strict=True):
        (level,) = encode(images)
        rows = []
        for b in range(B):
            for mask in objects.masks[b].bool():
                rows.append(level[b][:, mask].mean(1))
        found.append(projector(torch.stack(rows)).view(B, K, -1))
    return found


def summed(queries, predict, keys, batch):
    ids = [objects.ids for objects in batch.proposals]
    predicted = [predict(x.flatten(0, 1)).view_as(x) for x in queries]
    first = mask_contrast(predicted[0], keys[1], keys[0], ids[0], ids[1], 0.1)
    return first + mask_contrast(predicted[1], keys[0], keys[1], ids[1], ids[0], 0.1)


def test_with_a_momentum_target_it_is_detcon_b():
    model, batch = build(predictor=mlp(5, 8, 5)), views()
    head = model.heads['masks']
    with torch.no_grad():  # a target of its own
        for p in model.target.parameters():
            p.add_(torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(2)) * 0.1)
    logged = model.loss(batch)
    queries = reference(model.encode, head.projector, batch)
    with torch.no_grad():
        keys = reference(model.encode_target, model.target.heads['masks'], batch)
    want = summed(queries, head.predictor, keys, batch)
    torch.testing.assert_close(logged['loss_masks'], want, rtol=1e-9, atol=1e-9)
    parameters = [p for p in model.parameters() if p.requires_grad]
    got = torch.autograd.grad(logged['loss_masks'], parameters)
    for a, b in zip(got, torch.autograd.grad(want, parameters), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
    assert 0 < logged['masks_shared'] <= 1 and 1 <= logged['masks_distinct'] <= K
    assert head.embeddings.shape == (2 * B * K, 5) and not head.embeddings.requires_grad


@pytest.mark.parametrize('stop_gradient', [False, True])
def test_with_shared_weights_it_is_detcon_s(stop_gradient):
    model, batch = build(SharedPretrainer, stop_gradient=stop_gradient), views()
    found = reference(model.encode, model.heads['masks'].projector, batch)
    keys = [x.detach() for x in found] if stop_gradient else found
    want = summed(found, lambda x: x, keys, batch)
    loss = model.loss(batch)['loss_masks']
    torch.testing.assert_close(loss, want, rtol=1e-9, atol=1e-9)
    parameters = list(model.parameters())
    got = torch.autograd.grad(loss, parameters)
    for a, b in zip(got, torch.autograd.grad(want, parameters), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_objectives_on_sets():
    """BYOL's distance of the masks that both views have."""
    objective = dict(type='densecl.PixelConsistency')
    model = build(predictor=mlp(5, 8, 5), objective=objective, own_view=False, pairs=((0, 1),))
    batch, head = views(), model.heads['masks']
    assert head.needed(2) == {'online': {0}, 'target': {1}}
    query = reference(model.encode, head.projector, batch)[0]
    query = head.predictor(query.flatten(0, 1)).view_as(query)
    key = reference(model.encode_target, model.target.heads['masks'], batch)[1]
    same = batch.proposals[0].ids[:, :, None] == batch.proposals[1].ids[:, None]
    cosine = F.cosine_similarity(query[:, :, None], key[:, None], dim=-1)
    want = -2 * sum(cosine[b][same[b]].mean() for b in range(B) if same[b].any()) / B
    assert same.any()
    torch.testing.assert_close(model.loss(batch)['loss_masks'], want, rtol=1e-9, atol=1e-9)


def test_views_that_the_target_sees():
    head = build(pairs=((0, 1),)).heads['masks']
    assert head.needed(2) == {'online': {0}, 'target': {0, 1}}
    with pytest.raises(ValueError, match='need 2 views, the pipeline makes 1'):
        head.needed(1)


def test_errors_say_what_to_do():
    model, batch = build(), views()
    batch.proposals[1].masks = None
    with pytest.raises(ValueError, match="view 1 has no masks; give MultiView proposals=dict"):
        model.loss(batch)
    with pytest.raises(ValueError, match='InfoNCE does not score sets'):
        build(own_view=False, objective=dict(type='densecl.InfoNCE', queue=0, batch='keys'))
    batch.proposals = [None, None]
    with pytest.raises(ValueError, match='view 0 has no masks'):
        model.loss(batch)
    batch.proposals = None
    with pytest.raises(ValueError, match='view 0 has no masks'):
        model.loss(batch)
    batch = views(side=48)
    batch.images = [x[..., :32, :] for x in batch.images]
    with pytest.raises(ValueError, match=r'6 x 6 cells, but the level has 4 x 6; .*grid=\(4, 6\)'):
        model.loss(batch)
