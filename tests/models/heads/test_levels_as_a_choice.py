"""Any head on any level: the loss of several heads is the weighted sum of the losses of each alone."""

import copy

import pytest
import torch

from densecl.models.pretrainers import MomentumPretrainer
from densecl.structures import Views
from tests.models.heads.made import views_of

LEVELS = {'c3': (0, 24, 0.4), 'c4': (1, 48, 1.0)}  # name -> level, channels, weight


def image_head(level: int, channels: int) -> dict:
    return dict(
        units=dict(type='Image', level=level),
        projector=dict(type='MLP', channels=(channels, 16, 8)),
        objective=dict(type='InfoNCE', queue=12, dim=8),
    )


def dense_head(level: int, channels: int) -> dict:
    return dict(
        units=dict(type='Cells', level=level),
        projector=dict(type='ConvMLP', channels=(channels, 16, 8)),
        matching='MostSimilar',
        objective=dict(type='InfoNCE', queue=12, dim=8),
    )


def pixel_head(level: int, channels: int) -> dict:
    return dict(
        units=dict(type='Cells', level=level),
        projector=dict(type='ConvMLP', channels=(channels, 16, 8), norm=True),
        predictor=dict(type='PixelPropagation', channels=8),
        matching='ByLocation',
        objective=dict(type='Cosine', mean='images'),
        pairs=((0, 1), (1, 0)),
    )


def make_views() -> Views:
    generator = torch.Generator().manual_seed(0)
    near = torch.randint(0, 20, (2, 4, 2), generator=generator).float()
    images = torch.randn(2, 4, 3, 64, 64, generator=generator)
    flipped = torch.tensor([[True, False, False, True], [False, False, True, True]])
    return views_of(images, torch.cat([near, near + 80], -1), flipped)


def build(heads: dict) -> MomentumPretrainer:
    torch.manual_seed(0)
    model = MomentumPretrainer(
        backbone=dict(
            type='TorchvisionFeatures',
            arch='mobilenet_v3_small',
            nodes=['features.3', 'features.8'],
        ),
        heads=heads,
        momentum=0.9,
    )
    return model.double().train()


@pytest.mark.parametrize('head', [image_head, dense_head, pixel_head])
def test_loss_and_gradients_are_the_weighted_sum(head):
    views = make_views()
    views.images = [image.double() for image in views.images]
    both = build(
        {
            name: dict(head(level, channels), loss_weight=weight)
            for name, (level, channels, weight) in LEVELS.items()
        }
    )
    both.init_target()
    alone = {}
    for name, (level, channels, _) in LEVELS.items():
        alone[name] = build({name: head(level, channels)})
        state = {k: v for k, v in both.state_dict().items() if 'heads.' not in k or f'heads.{name}.' in k}
        alone[name].load_state_dict(copy.deepcopy(state))
    together = both.loss(views)
    losses = {name: model.loss(views)[f'loss_{name}'] for name, model in alone.items()}
    for name, (_, _, weight) in LEVELS.items():
        torch.testing.assert_close(together[f'loss_{name}'], weight * losses[name], rtol=1e-12, atol=1e-12)
    assert not torch.equal(losses['c3'], losses['c4'])
    sum(together[f'loss_{name}'] for name in LEVELS).backward()
    for loss in losses.values():
        loss.backward()
    weights = {name: weight for name, (_, _, weight) in LEVELS.items()}
    for key, parameter in both.backbone.named_parameters():
        parts = [(w, alone[n].backbone.get_parameter(key).grad) for n, w in weights.items()]
        expected = sum(w * g for w, g in parts if g is not None)
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-8, atol=1e-10)
    for name, weight in weights.items():
        pairs = zip(both.heads[name].parameters(), alone[name].heads[name].parameters(), strict=True)
        for mine, single in pairs:
            torch.testing.assert_close(mine.grad, weight * single.grad, rtol=1e-8, atol=1e-10)
