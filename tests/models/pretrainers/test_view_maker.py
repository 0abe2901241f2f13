"""ViewMaker: the budget, whose gradient goes which way, and what the noise depends on."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from densecl.models.pretrainers import (
    MomentumPretrainer,
    SharedPretrainer,
    ViewMaker,
    reverse_gradient,
    within_budget,
)
from densecl.registry import MODELS
from densecl.structures import Views
from tests.models.heads.made import views_of

MAKER = dict(type='ViewMaker', budget=0.05, blocks=1)
CONTRAST = dict(type='InfoNCE', queue=0, batch='views', temperature=0.3)


@MODELS.register_module(force=True)
class SmoothConv(nn.Module):
    """A backbone without batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2)

    def forward(self, x):
        return (self.conv(x).tanh(),)


def batch(size=(12, 10), count=4, views=2, dtype=torch.float64) -> Views:
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(count, 3, *size, generator=generator, dtype=dtype) * 0.5 for _ in range(views)]
    return views_of(images, indices=torch.arange(count) + 5)


def build(cls=SharedPretrainer, maker=MAKER, double=True, head=None, **kwargs):
    torch.manual_seed(0)
    given = dict(projector=dict(type='MLP', channels=(6, 5)), objective=CONTRAST, pairs=((0, 1), (1, 0)))
    heads = dict(image={**given, **(head or {})})
    model = cls(backbone=dict(type='SmoothConv'), heads=heads, view_maker=maker, **kwargs)
    return model.double() if double else model


def pixels(model, images):
    maker = model.view_maker
    return images * maker.std + maker.mean


@pytest.mark.parametrize('size', [0.01, 1.0, 100.0])
def test_the_mean_of_each_image_is_the_budget(size):
    raw = torch.randn(3, 3, 8, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * size
    found = within_budget(raw, 0.05)
    for b in range(3):
        delta = np.tanh(raw[b].numpy())
        np.testing.assert_allclose(found[b].numpy(), delta * 0.05 / (np.abs(delta).mean() + 1e-4), rtol=1e-12)
    assert torch.allclose(found.abs().mean((1, 2, 3)), torch.tensor(0.05).double(), rtol=2e-2)
    assert torch.autograd.gradcheck(lambda x: within_budget(x, 0.05), (raw[:1, :, :3, :3].requires_grad_(),))


def test_pixels_stay_between_black_and_white_and_move_by_the_budget():
    model, views = build(), batch()
    changed = model.view_maker.perturbed(views, model.step)
    for before, after in zip(views.images, changed.images, strict=True):
        assert after.shape == before.shape
        old, new = pixels(model, before), pixels(model, after)
        assert new.min() >= 0 and new.max() <= 1
        inside = (old > 0.3) & (old < 0.7)
        moved = (new - old).abs()[inside].mean()
        assert 0.03 < moved < 0.07


def test_views_that_are_not_named_stay():
    model, views = build(maker=dict(MAKER, views=(1,))), batch()
    changed = model.view_maker.perturbed(views, model.step)
    assert changed.images[0] is views.images[0] and not torch.equal(changed.images[1], views.images[1])
    with pytest.raises(ValueError, match=r'ViewMaker: views=\(3,\), but the views are 0 .. 1'):
        build(maker=dict(MAKER, views=(3,))).view_maker.perturbed(views, model.step)


def test_reversed_gradients():
    x = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert torch.equal(reverse_gradient(x), x)
    (3 * reverse_gradient(x, 0.5)).square().sum().backward()
    torch.testing.assert_close(x.grad, -0.5 * 18 * x.detach())


@pytest.mark.parametrize('weight', [1.0, 0.3])
def test_it_climbs_what_the_encoder_descends(weight):
    """One backward pass gives the encoder the loss's gradient, the view maker minus its own."""
    model, views = build(maker=dict(MAKER, loss_weight=weight)), batch()
    model(views, mode='loss')['loss_image'].backward()
    plain = copy.deepcopy(model)
    plain.zero_grad()
    maker = plain.view_maker

    def explicit(images, indices, number):
        """The same without the reversal."""
        x = images * maker.std + maker.mean
        delta = within_budget(maker.raw(x, indices, number * (len(maker.blocks) + 1)), maker.budget)
        return ((x + delta).clamp(0, 1) - maker.mean) / maker.std

    maker.forward = explicit
    plain(views, mode='loss')['loss_image'].backward()
    for (name, p), q in zip(model.named_parameters(), plain.parameters(), strict=True):
        factor = -weight if name.startswith('view_maker') else 1
        torch.testing.assert_close(p.grad, factor * q.grad, rtol=1e-9, atol=1e-12, msg=name)
    assert model.view_maker.entry[0][0].weight.grad.abs().sum() > 0


def test_a_step_of_its_own_makes_the_loss_larger():
    model, views = build(), batch()
    before = model(views, mode='loss')['loss_image']
    before.backward()
    with torch.no_grad():
        for p in model.view_maker.parameters():
            p -= 0.05 * p.grad / max(float(p.grad.norm()), 1e-9)
    assert model(views, mode='loss')['loss_image'] > before


def test_noise_depends_on_image_view_and_step_alone():
    model, views = build(), batch()
    whole = model.view_maker.perturbed(views, model.step).images
    part = batch()
    part.images, part.indices = [x[2:] for x in part.images], part.indices[2:]
    alone = model.view_maker.perturbed(part, model.step).images
    torch.testing.assert_close(alone[1], whole[1][2:], rtol=1e-10, atol=1e-10)
    views.images[1] = views.images[0]
    same = model.view_maker.perturbed(views, model.step).images
    assert not torch.allclose(same[0], same[1])
    assert not torch.allclose(model.view_maker.perturbed(views, model.step + 1).images[0], same[0])


def test_a_resumed_model_goes_on_as_if_nothing_happened():
    model, views = build(), batch()
    model.set_steps(7)
    again = build()
    for p in again.view_maker.parameters():
        nn.init.normal_(p)
    again.load_state_dict(model.state_dict())
    assert torch.equal(model(views, mode='loss')['loss_image'], again(views, mode='loss')['loss_image'])


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_keeps_the_budget(dtype):
    model = build(double=False)
    views = batch(dtype=torch.float32)
    with torch.autocast('cpu', dtype):
        changed = model.view_maker.perturbed(views, model.step)
        loss = model(views, mode='loss')['loss_image']
    assert changed.images[0].dtype == torch.float32
    old, new = (pixels(model, x[0]) for x in (views.images, changed.images))
    inside = (old > 0.3) & (old < 0.7)
    assert 0.03 < (new - old).abs()[inside].mean() < 0.07
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_a_momentum_pair_trains_it_by_its_queries():
    model = build(MomentumPretrainer)
    model(batch(), mode='loss')['loss_image'].backward()
    assert model.view_maker.exit.weight.grad.abs().sum() > 0
    assert not any('view_maker' in name for name in model.target.state_dict())


@pytest.mark.parametrize(('cls', 'head', 'chosen', 'learns'), [
    (MomentumPretrainer, dict(), 0, True),
    (MomentumPretrainer, dict(), 1, False),
    (SharedPretrainer, dict(), 1, True),
    (SharedPretrainer, dict(stop_gradient=True), 1, False),
])  # fmt: skip
def test_views_without_gradient_are_refused(cls, head, chosen, learns):
    one_way = dict(objective='Cosine', pairs=((0, 1),), **head)
    model, views = build(cls, maker=dict(MAKER, views=(chosen,)), head=one_way), batch()
    if learns:
        model(views, mode='loss')['loss_image'].backward()
        assert model.view_maker.exit.weight.grad.abs().sum() > 0
    else:
        with pytest.raises(ValueError, match=r'view_maker.views=\(1,\).*without gradient.*some of \[0\]'):
            model(views, mode='loss')


def test_it_rests_while_the_heads_train_alone():
    model = build(heads_first=1)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    model.before_optimizer_step()
    without = {name.split('.')[0] for name, p in model.named_parameters() if p.grad is None}
    assert without == {'backbone', 'view_maker'}
    model.after_optimizer_step()
    model(batch(), mode='loss')['loss_image'].backward()
    model.before_optimizer_step()
    assert model.view_maker.exit.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('preprocessor', [
    dict(type='PretrainDataPreprocessor', mean=[500.0] * 4, std=[200.0] * 4, high=[4000.0] * 4),
    dict(type='PretrainDataPreprocessor', high=[4000.0] * 3),
    dict(type='TextPreprocessor'),
])  # fmt: skip
def test_other_data_than_photos_is_refused(preprocessor):
    with pytest.raises(ValueError, match=r'model.view_maker perturbs photos in 8-bit RGB: data_preprocessor'):
        build(data_preprocessor=preprocessor)


def test_refusals():
    with pytest.raises(ValueError, match='ViewMaker: budget must be above 0'):
        ViewMaker(budget=0)
    views = batch()
    views.corrupted = [views.images[0], None]
    model = build()
    with pytest.raises(ValueError, match='views with corruption are replaced already'):
        model.view_maker.perturbed(views, model.step)
