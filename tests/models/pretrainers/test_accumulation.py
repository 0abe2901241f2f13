"""Four batches a step equal one that is four times as large."""

import pytest
import torch

from densecl.models.pretrainers import MomentumPretrainer
from densecl.structures import Views
from tests.models.heads.made import views_of
from tests.models.pretrainers.test_momentum import batch

BACKBONE = dict(
    type='TimmViT', img_size=32, patch_size=8, embed_dim=36, depth=2, num_heads=3, output_cls_token=False
)
PROJECTOR = dict(type='MLP', channels=(36, 8))
HEADS = dict(
    moco=dict(projector=PROJECTOR, objective=dict(type='InfoNCE', queue=20, dim=8)),
    dense=dict(
        units='Cells',
        projector=dict(type='ConvMLP', channels=(36, 8)),
        matching='MostSimilar',
        objective=dict(type='InfoNCE', queue=20, dim=8),
    ),
    sogclr=dict(
        projector=PROJECTOR,
        objective=dict(
            type='InfoNCE', queue=20, dim=8, negatives=dict(type='MovingAverage', images=8), decoupled=True
        ),
    ),
    dino=dict(
        units='Prototypes',
        projector=dict(type='PrototypeProjector', channels=(36, 8), prototypes=12),
        objective=dict(type='SelfDistillation', prototypes=12, center_momentum=0.5),
        pairs='crops',
    ),
    npid=dict(
        projector=PROJECTOR,
        objective=dict(type='NCE', images=8, dim=8, form='softmax'),
        pairs=((0, 0),),
    ),
)


def part(views: Views, rows: slice) -> Views:
    """Some of the images."""
    images, boxes, flipped = ([x[rows] for x in y] for y in (views.images, views.boxes, views.flipped))
    return views_of(images, boxes, flipped, indices=views.indices[rows])


def three_steps(name: str, parts: int):
    """The loss of each step, and the state in the end."""
    torch.manual_seed(0)
    model = MomentumPretrainer(BACKBONE, {name: HEADS[name]}, momentum=0.9).double()
    model.init_target()
    model.train()
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
    for step in range(3):
        torch.manual_seed(step)
        views = batch(8, 32)
        views.images = [x.double() for x in views.images]
        total = 0.0
        for number, rows in enumerate(torch.arange(8).chunk(parts)):
            model.ends_step = number == parts - 1
            loss = model.loss(part(views, slice(int(rows[0]), int(rows[-1]) + 1)))[f'loss_{name}'] / parts
            loss.backward()
            total += loss.detach()
        model.before_optimizer_step()
        optimizer.step()
        optimizer.zero_grad()
        model.after_optimizer_step()
        losses.append(total)
    return torch.stack(losses), model.state_dict()


@pytest.mark.parametrize('name', HEADS)
def test_four_batches_a_step_equal_one(name):
    want, state = three_steps(name, 1)
    losses, got = three_steps(name, 4)
    assert want.unique().numel() == 3
    torch.testing.assert_close(losses, want, rtol=1e-12, atol=0)
    torch.testing.assert_close(got, state, rtol=0, atol=1e-12)
