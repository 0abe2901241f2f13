"""Crop, resize, flip and photometric draws of images of any depth and number of channels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from densecl.datasets import PretrainDataset
from densecl.datasets.transforms import CentreCrop, JigsawPatches, MultiView
from densecl.datasets.transforms.crop import resize_crop
from densecl.datasets.transforms.photometric import RGB_ONLY, Photometric
from densecl.registry import TRANSFORMS

DEPTHS = {'uint8': 255, 'uint16': 65535, 'float32': 1.0}
COLOURS = dict(
    brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, jitter_prob=0.8, gray_prob=0.2, blur_prob=0.5
)


def made(channels: int, dtype: str, height: int = 40, width: int = 50) -> np.ndarray:
    rng = np.random.default_rng(channels)
    return (rng.random((height, width, channels)) * DEPTHS[dtype]).astype(dtype)


def reference(image, box, size, interpolation, flip) -> np.ndarray:
    """The same in float64, by torch."""
    x1, y1, x2, y2 = box
    crop = torch.from_numpy(image[y1:y2, x1:x2].astype(np.float64)).permute(2, 0, 1)[None]
    view = F.interpolate(crop, size, mode=interpolation, antialias=True)[0].permute(1, 2, 0)
    return (view.flip(1) if flip else view).numpy()


@pytest.mark.parametrize('dtype', DEPTHS)
@pytest.mark.parametrize('channels', [1, 2, 4, 5, 13, 130])
def test_values_of_a_view(dtype, channels):
    image = made(channels, dtype)
    for box, size, interpolation in [
        ((3, 5, 43, 39), (16, 20), 'bilinear'),
        ((3, 5, 43, 39), (16, 20), 'bicubic'),
        ((10, 8, 22, 18), (30, 31), 'bilinear'),  # enlarged
        ((10, 8, 40, 18), (20, 20), 'bilinear'),  # enlarged and reduced
        ((10, 8, 30, 28), (20, 20), 'bilinear'),  # as it is
    ]:
        for flip in (False, True):
            view = resize_crop(image, box, size, interpolation, flip)
            assert view.dtype == dtype and view.shape == (*size, channels) and view.flags.c_contiguous
            expected = reference(image, box, size, interpolation, flip)
            if dtype != 'float32':
                expected = expected.clip(0, DEPTHS[dtype])
            tolerance = {'uint8': 1.01, 'uint16': 2, 'float32': 1e-5}[dtype]
            if dtype == 'uint8' and interpolation == 'bicubic':
                tolerance = 4  # torch rounds and cuts between the two axes
            if dtype == 'uint16' and size > (box[3] - box[1], box[2] - box[0]):
                tolerance = 65535 / 2048  # OpenCV's weights have 11 bits
            assert np.abs(view.astype(np.float64) - expected).max() <= tolerance, (box, size, interpolation)


def test_a_large_value_survives():
    image = np.zeros((32, 32, 4), np.uint16)
    image[8:24, 8:24, 3] = 4095
    (view,) = MultiView([dict(size=16, scale=None, flip=0)])(
        dict(image=image, channels=4, rng=np.random.default_rng(0))
    ).images
    assert view.dtype == torch.uint16 and view.numpy()[8, 8].tolist() == [0, 0, 0, 4095]


def test_the_same_views_as_of_rgb():
    """Boxes, flips and factors of a recipe depend on the generator alone."""
    recipe = dict(
        count=2, size=16, photometric=dict(brightness=0.4, contrast=0.4, jitter_prob=0.8, blur_prob=0.5)
    )
    results = [
        dict(image=made(3, 'uint8')),
        dict(image=made(4, 'uint16'), channels=4),
        dict(image=made(1, 'float32'), channels=1),
    ]
    for on in ('device', 'worker'):
        samples = [MultiView([recipe], on)(r | {'rng': np.random.default_rng(7)}) for r in results]
        for sample in samples[1:]:
            assert torch.equal(sample.boxes, samples[0].boxes)
            assert torch.equal(sample.flipped, samples[0].flipped)
        left = [[view is not None for view in sample.photometric] for sample in samples]
        assert left == [[on == 'device'] * 2, [True] * 2, [True] * 2]
        for view, other in zip(samples[1].photometric, samples[2].photometric, strict=True):
            assert torch.equal(view.factors, other.factors) and torch.equal(view.sigma, other.sigma)


def test_gamma_and_noise_are_drawn_after_the_others():
    """From the generator of the image; recipes without them draw what they always drew."""
    recipe = dict(brightness=0.4, jitter_prob=0.8, blur_prob=0.5)
    more = dict(gamma=1.0, gamma_prob=0.5, noise_prob=0.5, noise_sigma=(0.1, 0.4))
    plain, drawn = (
        [Photometric(**r).draw(np.random.default_rng(i)) for i in range(200)] for r in (recipe, recipe | more)
    )
    for a, b in zip(plain, drawn, strict=True):
        assert all(torch.equal(getattr(a, n), getattr(b, n)) for n in ('order', 'factors', 'jitter', 'sigma'))
        assert (a.gamma, a.noise, a.noise_seed) == (1, 0, -1)
    rng = np.random.default_rng(3)
    Photometric(**recipe).draw(rng)
    reference = np.random.default_rng(3)
    reference.random(13)
    assert rng.random() == reference.random()
    gamma, noise, seeds = (
        torch.stack([getattr(p, n) for p in drawn]) for n in ('gamma', 'noise', 'noise_seed')
    )
    assert 70 < (gamma != 1).sum() < 130 and 70 < (noise > 0).sum() < 130
    exponents = gamma[gamma != 1].log2()  # uniform in [-1, 1]
    assert exponents.abs().max() <= 1 and exponents.mean().abs() < 0.2 and exponents.std() > 0.5
    assert 0.1 <= noise[noise > 0].min() < 0.15 and 0.35 < noise.max() <= 0.4
    assert seeds.unique().numel() == 200 and seeds.min() >= 0
    again = Photometric(**recipe, **more).draw(np.random.default_rng(0))
    assert np.array_equal(drawn[0].values, again.values)


@pytest.mark.parametrize(
    'settings', [dict(gamma=-1), dict(gamma_prob=2), dict(noise_prob=-1), dict(noise_sigma=(0.2, 0.1))]
)
def test_gamma_and_noise_are_checked_by_name(settings):
    with pytest.raises(ValueError, match=f'photometric.{next(iter(settings))} must be'):
        Photometric(**settings)


@pytest.mark.parametrize('name', RGB_ONLY)
def test_colour_operators_are_refused_by_name(tmp_path, name):
    photometric = {'jitter_prob': 1.0, name: 0.1}
    message = rf'photometric.{name}=0.1 is for 8-bit RGB only, the images have 4 channels \(.*set .*{name}=0$'
    transform = MultiView([dict(size=8, photometric=photometric)])
    with pytest.raises(ValueError, match=message):
        transform(dict(image=made(4, 'uint16'), channels=4, rng=np.random.default_rng(0)))
    np.save(tmp_path / 'a.npy', made(4, 'uint16'))
    for pipeline in ([transform], [JigsawPatches(photometric=photometric)]):
        with pytest.raises(ValueError, match=message):  # before anything is read
            PretrainDataset(tmp_path, pipeline=pipeline, decoder=dict(type='SensorDecoder', channels=4))


def test_colours_of_another_depth_are_refused_too():
    Photometric(**COLOURS).check_images(3, 'uint8')
    Photometric(**COLOURS).check_images(3, None)
    for channels, dtype in ((3, 'uint16'), (1, 'uint8')):
        with pytest.raises(ValueError, match=f'{channels} channels .{dtype}.: set photometric.saturation=0'):
            Photometric(**COLOURS).check_images(channels, dtype)
    view = TRANSFORMS.build(dict(type='RandAugmentView', size=8))
    with pytest.raises(ValueError, match='RandAugmentView.operators=2 is for 8-bit RGB only'):
        MultiView([dict(type='RandAugmentView', size=8)]).check_images(4, None)
    with pytest.raises(ValueError, match='RandAugmentView.operators=2 is for 8-bit RGB only'):
        view.draw(made(3, 'uint16'), np.random.default_rng(0))


def test_centre_and_puzzle():
    image = made(5, 'uint16', 64, 64)
    (view,) = CentreCrop(32, share=1.0)(dict(image=image, channels=5)).images
    assert view.shape == (32, 32, 5) and view.dtype == torch.uint16
    puzzle = JigsawPatches(grid=2, resize=64, cell=32, patch=16, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0)
    sample = puzzle(dict(image=image, channels=5, rng=np.random.default_rng(0)))
    for patch, box in zip(sample.images, sample.boxes.int().tolist(), strict=True):
        x1, y1, x2, y2 = box
        np.testing.assert_array_equal(patch.numpy(), image[y1:y2, x1:x2])


def test_an_image_that_is_not_what_the_decoder_said():
    with pytest.raises(
        ValueError, match=r"'a.tif': expected a non-empty \(H, W, 4\).*got uint16 \(40, 50, 2\)"
    ):
        CentreCrop(8)(dict(image=made(2, 'uint16'), channels=4, path='a.tif'))
