"""VICRegL's local term: two rules whose losses add up, both directions, against its definition."""

import pytest
import torch

from densecl.models.pretrainers import SharedPretrainer
from densecl.structures import cell_centers
from tests.models.heads.made import views_of

RULES = [dict(type='NearestFeature', top=None), dict(type='NearestLocation', top=5)]


def build():
    head = dict(
        units='Cells',
        projector=dict(type='ConvMLP', channels=(512, 6)),
        matching=RULES,
        objective='PositionVICReg',
        pairs=((0, 1), (1, 0)),
    )
    backbone = dict(type='TorchvisionResNet', arch='resnet18')
    return SharedPretrainer(backbone=backbone, heads=dict(local=head)).double().eval()


@pytest.fixture(scope='module')
def views():
    corner = 80 * torch.rand(2, 4, 2)  # at random: no two distances are the same
    boxes = torch.cat([corner, corner + 60 + 40 * torch.rand(2, 4, 2)], 2)
    flipped = torch.tensor([[False, True, False, True], [True, True, False, False]])
    return views_of(torch.randn(2, 4, 3, 96, 96, dtype=torch.float64), boxes, flipped)


def position_vicreg(first, second):
    """VICReg of (B, G, D) pairs: statistics of each position over the images, means of both views."""
    hinges, penalties = [], []
    for cells in (*first.unbind(1), *second.unbind(1)):
        covariance = torch.cov(cells.T)
        off = covariance - covariance.diagonal().diag()
        hinges.append((1 - (covariance.diagonal() + 1e-4).sqrt()).relu().mean())
        penalties.append(off.square().sum() / cells.shape[1])
    distance = (first - second).square().mean()
    return 25 * distance + 25 * torch.stack(hinges).mean() + torch.stack(penalties).mean()


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
            total = total + position_vicreg(torch.stack(first), torch.stack(second)) / 2
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
    assert model.watched['local'][0].shape == (36, 6)
