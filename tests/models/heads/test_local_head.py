"""VICRegL's local head against its definition."""

import pytest
import torch

from densecl.models.heads import LocalHead
from densecl.models.losses.functional import position_vicreg
from densecl.models.pretrainers import SharedPretrainer
from densecl.structures import Views, cell_centers

RULES = [dict(type='densecl.NearestFeature', top=None), dict(type='densecl.NearestLocation', top=5)]


def build(**kwargs):
    head = dict(
        type='densecl.LocalHead',
        projector=dict(type='densecl.ConvMLP', channels=(512, 6)),
        matching=RULES,
        objective=dict(type='densecl.PositionVICReg'),
        **kwargs,
    )
    backbone = dict(type='densecl.TorchvisionResNet', arch='resnet18')
    return SharedPretrainer(backbone=backbone, heads=dict(local=head)).double().eval()


@pytest.fixture(scope='module')
def views():
    corner = 80 * torch.rand(2, 4, 2)  # at random: no two distances are the same
    boxes = list(torch.cat([corner, corner + 60 + 40 * torch.rand(2, 4, 2)], 2))
    return Views(
        images=list(torch.randn(2, 4, 3, 96, 96, dtype=torch.float64)),
        boxes=boxes,
        flipped=[torch.tensor([False, True, False, True]), torch.tensor([True, True, False, False])],
        source_sizes=torch.full((4, 2), 200.0),
        indices=torch.arange(4),
        paths=[''] * 4,
        photometric=[None] * 2,
    )


def naive(head, model, views):
    """Every pair by loops: sum over the rules, mean over the two directions."""
    maps = [head.projector(model.encode(x)[-1]).flatten(2).transpose(1, 2) for x in views.images]
    places = [cell_centers(b.double(), f, (3, 3)) for b, f in zip(views.boxes, views.flipped, strict=True)]
    total = 0.0
    for units, top in ((maps, 9), (places, 5)):
        for a, b in ((0, 1), (1, 0)):
            first, second = [], []
            for image in range(4):
                distance = (units[a][image][:, None] - units[b][image][None]).norm(dim=-1)
                small, best = distance.min(1)
                chosen = sorted(small.argsort()[:top].tolist())
                first.append(maps[a][image][chosen])
                second.append(maps[b][image][best[chosen]])
            total = total + position_vicreg(torch.stack(first), torch.stack(second), 25, 25, 1) / 2
    return total


def test_loss_and_gradient(views):
    model = build()
    head = model.heads.local
    got = model.loss(views)
    want = naive(head, model, views)
    torch.testing.assert_close(got['loss_local'], want, rtol=1e-9, atol=0)
    weight = head.projector[0].weight
    torch.testing.assert_close(
        *(torch.autograd.grad(x, weight)[0] for x in (got['loss_local'], want)), rtol=1e-7, atol=1e-9
    )
    assert {'local_invariance', 'local_variance', 'local_covariance'} <= set(got)
    assert head.embeddings.shape == (36, 6)


def test_more_views_pair_by_pair(views):
    """Multi-crop: every pair holds both directions."""
    views = Views(**{**vars(views), 'images': [*views.images, views.images[1][:, :, :64, :64]]})
    views.boxes, views.flipped = [*views.boxes, views.boxes[0]], [*views.flipped, views.flipped[0]]
    both = build(pairs=((0, 1), (0, 2)))
    losses = []
    for pairs in (((0, 1),), ((0, 2),)):
        one = build(pairs=pairs)
        one.load_state_dict(both.state_dict())
        losses.append(one.loss(views)['loss_local'])
    torch.testing.assert_close(both.loss(views)['loss_local'], sum(losses) / 2)


def test_rules_are_a_list():
    with pytest.raises(ValueError, match='list of one or more rules'):
        LocalHead(
            projector=dict(type='densecl.ConvMLP', channels=(512, 6)),
            matching=RULES[0],
            objective=dict(type='densecl.PositionVICReg'),
        )
