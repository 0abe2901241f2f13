"""Noise, salt and pepper, and Sobel: on the device and in a worker, against OpenCV, scipy and torchvision."""

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF
from scipy import ndimage

from densecl.datasets.transforms import MultiView, Photometric
from densecl.datasets.transforms import photometric_uint8 as worker
from densecl.models.data_preprocessors import PretrainDataPreprocessor, apply_pixel_operators
from densecl.models.data_preprocessors.photometric_pixels import sobel
from densecl.structures import PhotometricParams, Views

BLACK, WHITE = torch.zeros(3, 1, 1), torch.full((3, 1, 1), 255.0)
PLAIN = dict(order=[0, 1, 2, 3], factors=[1, 1, 1, 0], jitter=False, gray=False, sigma=0, solarize=256)


def params(*, count: int = 1, seed: int = 0, **changes) -> PhotometricParams:
    rows = [PhotometricParams.of(**PLAIN, pixel_seed=seed + i, **changes).values for i in range(count)]
    return PhotometricParams(np.stack(rows))


def picture(seed: int = 0, shape=(40, 50, 3)) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    noise[10:20], noise[20:25] = 0, 255
    return noise


def planes(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def by_scipy(image: np.ndarray) -> np.ndarray:
    """A quarter of the length of the gradient in float64, (H, W, C)."""
    channels = np.moveaxis(image.astype(np.float64), 2, 0)
    edges = [np.hypot(*(ndimage.sobel(c, axis, mode='mirror') for axis in (0, 1))) / 4 for c in channels]
    return np.stack(edges, 2)


@pytest.mark.parametrize('channels', [1, 3, 7])
def test_sobel_is_scipys(channels):
    image = np.random.default_rng(1).random((40, 50, channels))
    found = sobel(planes(image).double(), low=torch.zeros(channels, 1, 1), high=None)[0].permute(1, 2, 0)
    np.testing.assert_allclose(found.numpy(), by_scipy(planes(image)[0].permute(1, 2, 0).numpy()), atol=1e-9)


def test_sobel_in_a_worker_is_that_of_the_device_within_one_level():
    image = picture()
    device = apply_pixel_operators(planes(image), params(sobel=True), BLACK, WHITE, True)[0].permute(1, 2, 0)
    assert device.max() == 255 and device.min() == 0
    assert np.abs(worker.sobel(image).astype(float) - device.numpy()).max() <= 1
    np.testing.assert_allclose(device.numpy(), by_scipy(image).clip(0, 255), atol=1e-3)


def test_sobel_does_not_depend_on_where_an_image_lies_in_memory():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    rng, kept = np.random.default_rng(1), []
    want = worker.sobel(image)
    for _ in range(100):
        kept.append(np.empty(rng.integers(1, 5000), np.uint8))  # moves the next arrays
        assert np.array_equal(worker.sobel(image.copy()), want)


def test_sobel_of_a_step_is_as_bright_as_the_step_is_high():
    image = np.zeros((9, 12, 3), np.uint8)
    image[:, 6:] = 100
    edge = worker.sobel(image)
    assert (edge[:, 5:7] == 100).all() and not edge[:, :5].any() and not edge[:, 7:].any()


def moments(noise: np.ndarray) -> list[float]:
    centred = noise - noise.mean()
    return [noise.mean(), noise.std(), (centred**4).mean() / noise.var() ** 2]


def test_noise_has_torchvisions_distribution():
    """The grey image is far from both ends, so that none is cut off; another is, and as often."""
    torch.manual_seed(0)
    for level in (0.5, 0.1):
        grey = torch.full((1, 3, 200, 200), level)
        want = TF.gaussian_noise(grey, 0.0, 0.1, clip=True).numpy()
        device = apply_pixel_operators(255 * grey, params(range_noise=0.1), BLACK, WHITE, True).numpy() / 255
        image = np.full((200, 200, 3), round(255 * level), np.uint8)
        noisy = worker.add_noise(image, 0.1, np.random.default_rng(0)) / 255
        for found in (device, noisy):
            np.testing.assert_allclose(moments(found), moments(want), rtol=0.03, atol=2e-3)
            assert abs((found == 0).mean() - (want == 0).mean()) < 0.01


def test_salt_and_pepper_takes_whole_pixels_in_equal_parts():
    image = picture(shape=(200, 200, 3)).clip(1, 254)
    device = apply_pixel_operators(planes(image), params(salt_pepper=0.2), BLACK, WHITE, True)
    found = device[0].permute(1, 2, 0).byte().numpy()
    for view in (found, worker.salt_and_pepper(image, 0.2, np.random.default_rng(0))):
        black, white = (view == 0).all(2), (view == 255).all(2)
        assert abs(black.mean() - 0.1) < 0.01 and abs(white.mean() - 0.1) < 0.01
        assert np.array_equal(view[~(black | white)], image[~(black | white)])


def test_each_sample_has_its_own_seed_whatever_the_batch():
    images = planes(picture()).repeat(4, 1, 1, 1)
    drawn = params(count=4, range_noise=0.05, salt_pepper=0.1, sobel=True)
    together = apply_pixel_operators(images.clone(), drawn, BLACK, WHITE, True)
    for i in range(4):
        alone = PhotometricParams(drawn.values[i : i + 1])
        assert torch.equal(
            apply_pixel_operators(images[:1].clone(), alone, BLACK, WHITE, True)[0], together[i]
        )
    assert not torch.equal(together[0], together[1])


def test_other_sensors_keep_their_limits_and_their_outliers():
    low, high = torch.tensor([60.0, 0.0]).view(2, 1, 1), torch.tensor([4000.0, 1.0]).view(2, 1, 1)
    flat = low.expand(2, 60, 60)[None].clone()
    noisy = apply_pixel_operators(flat.clone(), params(range_noise=0.1), low, high, False)
    assert ((noisy - low).std((0, 2, 3)) / (high - low).flatten()).allclose(torch.tensor(0.1), atol=0.01)
    assert noisy.min() < 0
    spotted = apply_pixel_operators(flat.clone(), params(salt_pepper=0.3), low, high, False)
    assert (spotted == high).all(1).float().mean() > 0.1
    assert torch.equal(apply_pixel_operators(flat.clone(), params(sobel=True), low, high, False), flat)


RECIPE = dict(
    blur_prob=0.5,
    noise_sigma=(0.02, 0.1),
    noise_prob=0.5,
    noise_unit='range',
    salt_pepper_prob=0.5,
    sobel_prob=0.3,
)


@pytest.mark.parametrize('on', ['device', 'worker'])
def test_views_are_the_same_again(on):
    def batch(seed: int) -> torch.Tensor:
        transform = MultiView([dict(count=2, size=32, photometric=RECIPE)], photometric_on=on)
        samples = [transform(dict(image=picture(), rng=np.random.default_rng([seed, i]))) for i in range(4)]
        assert all((p is None) == (on == 'worker') for s in samples for p in s.photometric)
        return PretrainDataPreprocessor()({'inputs': Views.collate(samples)})['inputs'].images[1]

    assert torch.equal(batch(0), batch(0)) and not torch.equal(batch(0), batch(1))


def test_what_follows_the_noise_of_the_device_is_left_to_it():
    recipe = dict(gamma=1.0, gamma_prob=1.0, sobel_prob=1.0, solarize_prob=1.0)
    (view,) = MultiView([dict(size=32, photometric=recipe)], photometric_on='worker')(
        dict(image=picture(), rng=np.random.default_rng(0))
    ).photometric
    assert view.sobel and view.gamma != 1 and view.solarize == 256


def test_draws_come_last_and_only_where_asked_for():
    plain, more = Photometric(blur_prob=0.5), Photometric(**RECIPE)
    drawn = [more.draw(np.random.default_rng(i)) for i in range(300)]
    for i, p in enumerate(drawn):
        assert p.sigma == plain.draw(np.random.default_rng(i)).sigma and p.noise_seed == -1
    rng, reference = np.random.default_rng(0), np.random.default_rng(0)
    plain.draw(rng), reference.random(13)
    assert rng.random() == reference.random()
    shares = [
        sum(bool(getattr(p, n) > 0) for p in drawn) / 300 for n in ('range_noise', 'salt_pepper', 'sobel')
    ]
    np.testing.assert_allclose(shares, [0.5, 0.5, 0.3], atol=0.1)
    assert len({int(p.pixel_seed) for p in drawn}) == 300


def test_what_acts_between_black_and_white_needs_them():
    recipe = dict(salt_pepper_prob=1.0)
    image = np.zeros((40, 40, 2), np.uint16)
    transform = MultiView([dict(size=32, photometric=recipe)])
    sample = transform(dict(image=image, channels=2, rng=np.random.default_rng(0)))
    with pytest.raises(ValueError, match=r'photometric.salt_pepper .* set data_preprocessor.high'):
        PretrainDataPreprocessor(mean=(1, 1), std=(1, 1))({'inputs': Views.collate([sample])})


@pytest.mark.parametrize(
    'wrong',
    [dict(sobel_prob=2), dict(salt_pepper_prob=-1), dict(salt_pepper=(0.2, 0.1)), dict(noise_unit='db')],
)
def test_settings_are_checked_by_name(wrong):
    with pytest.raises(ValueError, match=f'photometric.{next(iter(wrong))} must be'):
        Photometric(**wrong)
