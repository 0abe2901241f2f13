"""RandAugment's colour operators in a view recipe."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from densecl.datasets.transforms import MultiView
from densecl.datasets.transforms.drawn import make_pixels
from densecl.datasets.transforms.randaugment import OPERATORS, RandAugmentView
from densecl.datasets.transforms.recipe import ViewRecipe
from densecl.registry import TRANSFORMS

PLAIN = dict(size=32, scale=(0.2, 1.0))


def texture(height: int = 80, width: int = 100) -> np.ndarray:
    noise = np.random.default_rng(0).integers(20, 220, (height // 4, width // 4, 3))
    return np.asarray(Image.fromarray(noise.astype(np.uint8)).resize((width, height)))


def applied(name: str, strength: float, sign: int = 1) -> np.ndarray:
    import torch

    image = torch.from_numpy(texture().copy()).permute(2, 0, 1)
    return OPERATORS[name](image, strength, sign).permute(1, 2, 0).numpy()


def test_operators_are_those_of_pil():
    """As in the paper's code, at strength 0.3: factor 1 + 0.27, 7 bits, threshold 178."""
    image = Image.fromarray(texture())
    expected = {
        'identity': image,
        'brightness': ImageEnhance.Brightness(image).enhance(1.27),
        'saturation': ImageEnhance.Color(image).enhance(1.27),
        'contrast': ImageEnhance.Contrast(image).enhance(1.27),
        'sharpness': ImageEnhance.Sharpness(image).enhance(1.27),
        'posterize': ImageOps.posterize(image, 7),
        'solarize': ImageOps.solarize(image, 178),
        'autocontrast': ImageOps.autocontrast(image),
        'equalize': ImageOps.equalize(image),
    }
    assert list(expected) == list(OPERATORS)
    for name, wanted in expected.items():
        away = np.abs(applied(name, 0.3).astype(int) - np.asarray(wanted).astype(int))
        assert away.mean() <= 0.6, (name, away.mean())  # rounding, and the mean's rounding in contrast
    darker = applied('brightness', 0.3, -1).astype(float)
    assert np.abs(darker - 0.73 * texture()).max() <= 1


def test_geometry_and_draws_of_the_crop_are_those_of_the_plain_recipe():
    rngs = [np.random.default_rng(5) for _ in range(2)]
    plain = ViewRecipe(**PLAIN).draw(texture(), rngs[0])[0]
    mine = RandAugmentView(**PLAIN, operators=2).draw(texture(), rngs[1])[0]
    assert (mine.box, mine.flipped) == (plain.box, plain.flipped)
    none = RandAugmentView(**PLAIN, operators=0).draw(texture(), np.random.default_rng(5))[0]
    pixels = [make_pixels(texture(), [view])[0] for view in (none, plain)]
    assert np.array_equal(*pixels)


def test_each_view_draws_its_own_and_a_seed_repeats_all():
    views = [dict(type='RandAugmentView', count=3, operators=2, magnitude=20, scale=None, flip=0.0, size=32)]
    transform = TRANSFORMS.build(dict(type='MultiView', views=views))
    assert isinstance(transform, MultiView)

    def make(seed):
        return transform({'image': texture(), 'rng': np.random.default_rng(seed)}).images

    first, second, third = make(0), make(0), make(1)
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))
    assert not all(a.equal(b) for a, b in zip(first, third, strict=True))
    assert not (first[0].equal(first[1]) and first[1].equal(first[2]))


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(operators=-1), 'operators must be an int of at least 0, got -1'),
        (dict(magnitude=31), r'magnitude must be a number in 0..30, got 31'),
        (dict(scale=(0.0, 1.0)), 'scale must be'),
    ],
)
def test_refusals(kwargs, message):
    with pytest.raises(ValueError, match=message):
        RandAugmentView(**kwargs)
