"""SiT's recipes: the loss from its formula, who sees what, the rates."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope

from densecl.engine.launch import read_config, use_plain_batch_norm
from densecl.registry import MODELS
from tests.models.heads.made import make_views
from tests.oracles.masked import exchanged_contrast, replaced_absolute

FOLDER = Path(__file__).parents[2] / 'configs/sit'
OFFICIAL, SMALL = 'sit_vit-small_4xb64-coslr-800e_in1k', 'sit_vit-slim_1xb64-coslr-16e_photos'
SIDE, BATCH = 32, 3


def load(name):
    cfg = read_config(str(FOLDER / f'{name}.py'))
    use_plain_batch_norm(cfg._cfg_dict)
    return cfg


@pytest.fixture(params=[(OFFICIAL, 16), (SMALL, 8)], ids=['official', 'small'])
def model(request):
    name, patch = request.param
    cfg = load(name).model
    sizes = dict(img_size=SIDE, patch_size=patch, embed_dim=12, depth=2, num_heads=2, drop_path=0.0)
    cfg.backbone.update(sizes)
    cfg.heads.image.projector.channels = (12, 9, 9, 6)
    cfg.heads.pixels.projector.in_channels = 12
    torch.manual_seed(0)
    model = MODELS.build(cfg).double().train()
    for part in model.target.parameters():
        torch.nn.init.normal_(part, std=0.3)  # not the online branch
    return model


def corrupted_views():
    views = make_views(batch=BATCH, count=2, side=SIDE)
    generator = torch.Generator().manual_seed(3)
    views.masks = [torch.rand(BATCH, SIDE, SIDE, generator=generator) < share for share in (0.5, 0.3)]
    views.hidden_counts = [tuple(mask.sum((1, 2)).aminmax()) for mask in views.masks]
    filling = torch.randn(2, BATCH, 3, SIDE, SIDE, generator=generator).double()
    views.corrupted = [
        torch.where(mask[:, None], fill, image)
        for mask, fill, image in zip(views.masks, filling, views.images, strict=True)
    ]
    return views


def by_hand(model, views):
    """The student on corrupted views, the teacher on clean ones; both views share batch statistics."""
    image, pixels = model.heads['image'], model.heads['pixels']
    seen = model.backbone(torch.cat(views.corrupted))
    whole = model.target.backbone(torch.cat(views.images))
    queries = image.projector(seen[-1].flatten(1)).chunk(2)
    keys = model.target.heads['image'](whole[-1].flatten(1)).detach().chunk(2)
    decoded = pixels.projector(seen, None).chunk(2)
    parts = zip(decoded, views.images, views.masks, strict=True)
    distances = [replaced_absolute(*part) for part in parts]
    return exchanged_contrast(queries, keys, 0.2), sum(distances) / 2 * pixels.loss_weight


def test_the_loss_is_that_of_the_formula(model):
    views = corrupted_views()
    want = by_hand(model, views)
    parameters = [p for p in model.parameters() if p.requires_grad]
    wanted = torch.autograd.grad(sum(want), parameters)
    logged = model(views, mode='loss')
    for name, value in zip(('image', 'pixels'), want, strict=True):
        torch.testing.assert_close(logged[f'loss_{name}'], value, rtol=1e-9, atol=0)
    found = torch.autograd.grad(logged['loss_image'] + logged['loss_pixels'], parameters)
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-11)
    assert all(g.abs().max() > 0 for g in found)


def test_nothing_replaced(model):
    """Views in which no pixel is: the reconstruction is 0 and its decoder learns nothing."""
    views = corrupted_views()
    views.masks, views.hidden_counts = [torch.zeros_like(m) for m in views.masks], [(0, 0)] * 2
    views.corrupted = list(views.images)
    logged = model(views, mode='loss')
    assert logged['loss_pixels'] == 0 < logged['loss_image']
    (logged['loss_image'] + logged['loss_pixels']).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    assert all(p.grad.abs().max() == 0 for p in model.heads['pixels'].projector.parameters())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision(model, dtype):
    views = corrupted_views()
    want = model(views, mode='loss')
    with torch.autocast('cpu', dtype):
        found = model.float()(
            views.each_tensor(lambda x: x.float() if x.is_floating_point() else x), mode='loss'
        )
    for name in ('loss_image', 'loss_pixels'):
        assert found[name].dtype == torch.float32
        assert found[name].item() == pytest.approx(want[name].item(), rel=0.1)
        found[name].backward(retain_graph=True)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_the_official_numbers():
    cfg = load(OFFICIAL)
    first, second = cfg.train_dataloader.dataset.pipeline[0].views
    for view, blur, solarize in ((first, 1.0, 0.0), (second, 0.1, 0.2)):
        assert (view.size, view.scale, view.interpolation) == (224, (0.2, 1.0), 'bicubic')
        assert (view.photometric.blur_prob, view.photometric.solarize_prob) == (blur, solarize)
        assert [(each.fill, each.mask.ratio, each.mask.patch) for each in view.corruption] == [
            ('zeros', 0.5, 1),
            ('batch', 0.3, 1),
        ]
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    kinds = [type(layer).__name__ for layer in model.heads['image'].projector]
    assert kinds == [
        'Linear',
        'BatchNorm1d',
        'ReLU',
        'Linear',
        'BatchNorm1d',
        'GELU',
        'Linear',
        'BatchNorm1d',
    ]
    assert not model.heads['image'].projector[-1].affine and model.heads['pixels'].loss_weight == 1
    assert model.join_views and cfg.train_cfg.max_epochs == 800 and cfg.sync_bn == 'torch'
    assert model.heads['image'].loss_weight == 4 * 0.2


def test_rates():
    """From 0 to 5e-4 in 10 epochs, then a cosine to 1e-6; weight decay from 0.04 to 0.1."""
    cfg, steps, epochs = load(OFFICIAL), 2, 800
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(()))], **{
        k: v for k, v in cfg.optim_wrapper.optimizer.items() if k != 'type'
    })  # fmt: skip
    with DefaultScope.overwrite_default_scope('densecl'):
        schedulers = [
            PARAM_SCHEDULERS.build(
                {'end': epochs, **part}, default_args=dict(optimizer=optimizer, epoch_length=steps)
            )
            for part in cfg.param_scheduler
        ]
    found = []
    for _ in range(epochs * steps):
        found.append((optimizer.param_groups[0]['lr'], optimizer.param_groups[0]['weight_decay']))
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    rates, decays = zip(*found, strict=True)
    assert rates[0] == 0 and max(rates) == pytest.approx(5e-4) and 1e-6 <= rates[-1] < 1.01e-6
    assert rates[10 * steps] == pytest.approx(5e-4, rel=1e-3)
    assert decays[0] == pytest.approx(0.04) and decays[-1] == pytest.approx(0.1, rel=1e-3)
    assert decays[400 * steps] == pytest.approx(0.07, rel=1e-2)
