"""Batches of any sensor: normalised and augmented against float64 forms."""

import numpy as np
import pytest
import torch

from densecl.datasets.transforms import MultiView
from densecl.models.data_preprocessors import (
    PretrainDataPreprocessor,
    apply_gamma_and_noise,
    apply_photometric_bands,
)
from densecl.models.data_preprocessors.photometric import blur
from densecl.models.data_preprocessors.photometric_bands import add_noise, gamma_bands
from densecl.registry import MODELS
from densecl.structures import PhotometricParams, Views

MEAN, STD = (1800.0, 1700.0, 1500.0, 2100.0), (900.0, 800.0, 850.0, 700.0)
LOW, HIGH = (60.0, 0.0, 40.0, 100.0), (4000.0, 4090.0, 4000.0, 4095.0)
RECIPE = dict(brightness=0.4, contrast=0.4, jitter_prob=0.8, blur_prob=0.5)


def batch(dtype: str = 'uint16', channels: int = 4, photometric: dict | None = None, count: int = 6) -> Views:
    transform = MultiView([dict(count=2, size=24, photometric=photometric)])
    rng = np.random.default_rng(0)
    images = (rng.random((count, 40, 50, channels)) * {'uint8': 255}.get(dtype, 4095)).astype(dtype)
    return Views.collate(
        [
            transform(dict(image=image, channels=channels, rng=np.random.default_rng(i), index=i))
            for i, image in enumerate(images)
        ]
    )


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
@pytest.mark.parametrize('channels_last', [True, False])
def test_normalises_any_depth(dtype, channels_last):
    views = batch(dtype)
    config = dict(type='PretrainDataPreprocessor', mean=MEAN, std=STD, channels_last=channels_last)
    given = [image.clone() for image in views.images]
    done = MODELS.build(config)({'inputs': views})['inputs']
    assert all(map(torch.equal, given, views.images))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for before, after in zip(views.images, done.images, strict=True):
        expected = (before.numpy().astype(np.float64) - MEAN) / STD
        assert after.dtype == torch.float32 and after.is_contiguous(memory_format=layout)
        np.testing.assert_allclose(after.permute(0, 2, 3, 1).numpy(), expected, rtol=0, atol=2e-5)


def by_hand(image: np.ndarray, params: PhotometricParams, i: int, black: np.ndarray) -> np.ndarray:
    """Brightness and contrast of sample i in float64, (C, H, W)."""
    image = image.astype(np.float64)
    for op in params.order[i].tolist() if params.jitter[i] else ():
        factor = float(params.factors[i, op])
        if op == 0:
            image = black + factor * (image - black)
        elif op == 1:
            mean = image.mean((1, 2), keepdims=True)
            image = mean + factor * (image - mean)
    return image


def test_brightness_and_contrast_a_channel_at_a_time():
    views = batch(photometric=dict(RECIPE, blur_prob=0.0), count=16)
    params = views.photometric[0]
    assert 0 < params.jitter.float().mean() < 1
    assert len({tuple(row.tolist()) for row in params.order.clone()}) > 4
    images = [image.clone() for image in views.images]
    planes = views.images[0].permute(0, 3, 1, 2).float().contiguous()
    black = np.array(LOW)[:, None, None]
    expected = [by_hand(planes[i].numpy(), params, i, black) for i in range(16)]
    found = apply_photometric_bands(planes.clone(), params, torch.tensor(LOW).view(-1, 1, 1))
    np.testing.assert_allclose(found.numpy(), np.stack(expected), rtol=1e-5, atol=0.01)
    assert found.max() > 4200  # nothing is clamped
    done = PretrainDataPreprocessor(MEAN, STD, low=LOW, high=HIGH)({'inputs': views})['inputs']
    expected = (np.stack(expected) - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    np.testing.assert_allclose(done.images[0].numpy(), expected, rtol=0, atol=1e-4)
    assert done.photometric == [None, None] and all(map(torch.equal, images, views.images))


def test_one_channel_of_floats_is_not_changed_in_the_batch():
    views = batch('float32', 1, RECIPE)
    images = [image.clone() for image in views.images]
    for channels_last in (True, False):
        processor = PretrainDataPreprocessor((2000,), (900,), channels_last)
        done = processor({'inputs': views})['inputs'].images
        assert all(map(torch.equal, images, views.images)) and not done[0].isnan().any()


def test_blur_is_that_of_rgb():
    views = batch(photometric=dict(blur_prob=1.0), count=5)
    planes = views.images[0].permute(0, 3, 1, 2).float().contiguous()
    sigma = views.photometric[0].sigma
    expected = torch.cat([blur(planes[:, i : i + 1].repeat(1, 3, 1, 1), sigma)[:, :1] for i in range(4)], 1)
    found = apply_photometric_bands(planes.clone(), views.photometric[0], torch.zeros(4, 1, 1))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0.01)
    assert (found - planes).abs().mean() > 100


def levels(values) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1)


def test_gamma_acts_between_black_and_white_and_leaves_outliers():
    """Float64: low + (high - low) ((x - low) / (high - low)) ** g inside, x itself outside."""
    views = batch(photometric=dict(gamma=1.0, gamma_prob=0.7), count=16)
    params = views.photometric[0]
    assert 0 < (params.gamma != 1).sum() < 16 and params.gamma.min() >= 0.5 and params.gamma.max() <= 2
    planes = views.images[0].permute(0, 3, 1, 2).float().contiguous()
    planes[:, :, 0, :3] = torch.tensor([-500.0, 60000.0, 0.0])  # below black, above white, a hole
    x, low, high = (np.asarray(v, np.float64) for v in (planes, levels(LOW), levels(HIGH)))
    share = ((x - low) / (high - low)).clip(0, 1) ** params.gamma.double().numpy()[:, None, None, None]
    expected = np.where((x > low) & (x < high), low + (high - low) * share, x)
    found = apply_gamma_and_noise(planes.clone(), params, levels(LOW), levels(HIGH), levels(STD))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=0.02)
    assert torch.equal(found[:, :, 0, :2], planes[:, :, 0, :2])
    assert torch.equal(found[params.gamma == 1], planes[params.gamma == 1])
    assert (found - planes).abs().max() > 300
    flat = gamma_bands(planes, torch.full((16,), 2.0), levels(LOW), levels(LOW))  # no span between the two
    assert torch.equal(flat, planes)


def test_noise_is_gaussian_in_units_of_the_std_and_of_each_sample_alone():
    recipe = dict(noise_prob=0.8, noise_sigma=(0.1, 0.3))
    params = batch(photometric=recipe, count=16).photometric[0]
    zeros = torch.zeros(16, 4, 90, 80)
    found = apply_gamma_and_noise(zeros.clone(), params, levels(LOW), levels(HIGH), levels(STD))
    unit = found / levels(STD)
    noisy = params.noise > 0
    assert 0 < noisy.sum() < 16 and not found[~noisy].any()
    # 90 * 80 values a channel: three standard errors of mean and of standard deviation
    sigma = params.noise[noisy][:, None]
    assert (unit[noisy].mean((2, 3)).abs() < 4 * sigma / 7200**0.5).all()
    torch.testing.assert_close(unit[noisy].std((2, 3)), sigma.expand(-1, 4), rtol=4 / 14400**0.5, atol=0)
    flat = unit[noisy].flatten(2)
    assert torch.corrcoef(flat.flatten(0, 1)).fill_diagonal_(0).abs().max() < 0.06  # nothing is repeated
    alone = add_noise(zeros[:1].clone(), params.noise[7:8], params.noise_seed[7:8], levels(STD))
    assert torch.equal(alone[0], found[7])
    torch.manual_seed(1)
    state = torch.get_rng_state()
    again = apply_gamma_and_noise(zeros.clone(), params, levels(LOW), levels(HIGH), levels(STD))
    assert torch.equal(again, found) and torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize('on', ['device', 'worker'])
def test_gamma_and_noise_of_rgb(on):
    """After all else, on the scale 0..255; the data worker leaves them to the device."""
    recipe = dict(jitter_prob=0.8, brightness=0.4, hue=0.1, solarize_prob=0.3, gray_prob=0.2)
    more = dict(gamma=0.5, gamma_prob=0.9, noise_prob=0.9, noise_sigma=(0.05, 0.1))
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    samples = {}
    for name, photometric in (('without', recipe), ('with', recipe | more)):
        view = MultiView([dict(size=24, photometric=photometric)], on)
        made = [view(dict(image=image, rng=np.random.default_rng(i), index=i)) for i in range(8)]
        samples[name] = Views.collate(made)
    params = samples['with'].photometric[0]
    assert (samples['without'].photometric[0] is None) == (on == 'worker')
    assert bool(params.jitter.any()) == (on == 'device') and (params.gamma != 1).sum() > 4
    processor = PretrainDataPreprocessor()
    plain, found = (processor({'inputs': samples[name]})['inputs'].images[0] for name in ('without', 'with'))
    mean, std = (v.view(3, 1, 1) for v in (-processor.shift / processor.scale, 1 / processor.scale))
    zero, full = torch.zeros(3, 1, 1), torch.full((3, 1, 1), 255.0)
    expected = apply_gamma_and_noise((plain * std + mean).contiguous(), params, zero, full, std)
    torch.testing.assert_close(found, (expected - mean) / std, rtol=0, atol=1e-3)
    assert (found - plain).abs().mean() > 0.02


def test_gamma_needs_white():
    views = batch(photometric=dict(gamma=1.0, gamma_prob=1.0))
    with pytest.raises(ValueError, match=r'gamma acts between .*: set data_preprocessor.high .* to 4 values'):
        PretrainDataPreprocessor(MEAN, STD, low=LOW)({'inputs': views})
    noise = batch(photometric=dict(noise_prob=1.0))
    assert PretrainDataPreprocessor(MEAN, STD)({'inputs': noise})['inputs'].images[0].isfinite().all()


def test_another_number_of_channels_is_refused_in_one_line():
    processor = PretrainDataPreprocessor(MEAN, STD, low=LOW, high=HIGH)
    message = (
        r'inputs.images\[0\] has 2 channels .torch.uint16., data_preprocessor.mean has 4 values: set .*2 each'
    )
    with pytest.raises(ValueError, match=message) as caught:
        processor({'inputs': batch(channels=2)})
    assert '\n' not in str(caught.value)
    with pytest.raises(ValueError, match='must be uint8 .*got torch.uint16 .*mean, std, low and high'):
        PretrainDataPreprocessor()({'inputs': batch(channels=3)})
    three = PretrainDataPreprocessor(low=(0, 0, 0), high=(4095, 4095, 4095))
    assert three({'inputs': batch(channels=3)})['inputs'].images[0].shape == (6, 3, 24, 24)


@pytest.mark.parametrize(
    'settings', [dict(std=STD[:3]), dict(low=LOW[:2]), dict(high=HIGH[:3]), dict(std=(1, 1, 1, 0))]
)
def test_lengths_are_compared(settings):
    with pytest.raises(ValueError, match='need one value a channel each, std above 0'):
        PretrainDataPreprocessor(**{'mean': MEAN, 'std': STD, **settings})


@pytest.mark.parametrize(
    'base', ['mmdet.DetDataPreprocessor', 'mmseg.SegDataPreProcessor', 'mmengine.ImgDataPreprocessor']
)
def test_preprocessors_of_mm(base):
    processor = MODELS.build(dict(type='SensorDataPreprocessor', base=base, mean=list(MEAN), std=list(STD)))
    images = [torch.from_numpy(x) for x in batch().images[0].permute(0, 3, 1, 2).contiguous().numpy()[:2]]
    done = processor({'inputs': images, 'data_samples': None}, False)['inputs']
    expected = np.stack([x.numpy() for x in images]).astype(np.float64) - np.array(MEAN)[:, None, None]
    expected /= np.array(STD)[:, None, None]
    np.testing.assert_allclose(done.numpy(), expected, rtol=0, atol=2e-5)
    assert not processor.state_dict()
    with pytest.raises(ValueError, match='bgr_to_rgb must go: LoadSensorImage keeps the order'):
        MODELS.build(dict(type='SensorDataPreprocessor', base=base, mean=MEAN, std=STD, bgr_to_rgb=True))
    with pytest.raises(ValueError, match='mean and std need one value a channel'):
        MODELS.build(dict(type='SensorDataPreprocessor', base=base, mean=MEAN, std=STD[:3]))


@pytest.mark.gpu
def test_bands_never_wait_for_the_device():
    views = batch(photometric=RECIPE | dict(gamma=0.5, gamma_prob=0.5), count=16)
    expected = PretrainDataPreprocessor(MEAN, STD, low=LOW, high=HIGH)({'inputs': views})['inputs']
    processor = PretrainDataPreprocessor(MEAN, STD, low=LOW, high=HIGH).cuda()
    noisy = batch(photometric=RECIPE | dict(noise_prob=1.0), count=16).pin_memory()
    views = views.pin_memory()
    processor({'inputs': noisy})
    processor({'inputs': views})
    torch.cuda.set_sync_debug_mode('error')
    try:
        processor({'inputs': noisy})
        done = processor({'inputs': views})['inputs']
    finally:
        torch.cuda.set_sync_debug_mode('default')
    for a, b in zip(done.images, expected.images, strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=0, atol=1e-3)
