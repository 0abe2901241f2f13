"""Geometry and determinism of the views."""

import numpy as np
import pytest
import torch
import torchvision.transforms as T
import torchvision.transforms.v2.functional as TF
from PIL import Image

from densecl.datasets.transforms import MultiView, resize_crop, sample_crop
from densecl.registry import TRANSFORMS
from densecl.structures import PretrainDataSample, Views, view_to_image

PHOTOMETRIC = {
    'brightness': 0.4,
    'contrast': 0.4,
    'saturation': 0.4,
    'hue': 0.1,
    'jitter_prob': 0.8,
    'gray_prob': 0.2,
    'blur_prob': 0.5,
}


def gradient(height: int, width: int) -> np.ndarray:
    """Red is the pixel's x, green its y, both below 256."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.zeros_like(x)], -1).astype(np.uint8)


def texture(height: int = 160, width: int = 200, seed: int = 0) -> np.ndarray:
    """Blurred noise, somewhat like a photo."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    image = Image.fromarray(noise.astype(np.uint8)).resize((width, height), Image.BICUBIC)
    return np.asarray(image)


def make(transform: MultiView, image: np.ndarray, seed: int = 0, **extra) -> PretrainDataSample:
    return transform({'image': image, 'rng': np.random.default_rng(seed), **extra})


@pytest.mark.parametrize('size', [64, 224, (96, 160)])
@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
def test_colours_lie_where_the_boxes_say(size, interpolation):
    views = [{'count': 2, 'size': size, 'flip': 0.5, 'interpolation': interpolation}]
    transform = MultiView(views=views)
    seen = set()
    for seed in range(12):
        sample = make(transform, gradient(180, 240), seed)
        for v, view in enumerate(sample.images):
            height, width = view.shape[:2]
            seen.add(bool(sample.flipped[v]))
            y, x = torch.meshgrid(
                torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing='ij'
            )
            points = torch.stack([x, y], -1).flatten(0, 1)[None]
            box, flip = sample.boxes[v : v + 1], sample.flipped[v : v + 1]
            expected = view_to_image(points, box, flip, (height, width))[0] - 0.5
            inner = slice(height // 8, -(height // 8)), slice(width // 8, -(width // 8))
            error = (view[..., :2].float() - expected.view(height, width, 2)).abs()
            assert error[inner].max() <= 1  # at the border of a crop there is less to average
    assert seen == {True, False}


def test_boxes_are_in_pixels_of_the_original_where_the_decoder_reduced_it():
    transform = MultiView(views=[{'count': 3, 'size': 32}])
    image = texture(100, 150)
    plain = make(transform, image)
    reduced = make(transform, image, source_size=(201, 300))
    assert reduced.source_size == (201, 300)
    factor = torch.tensor([2.0, 2.01, 2.0, 2.01])
    torch.testing.assert_close(reduced.boxes, plain.boxes * factor)
    assert all(map(torch.equal, reduced.images, plain.images))


def test_multi_crop_sample_and_its_batch():
    views = [{'count': 2, 'size': 48}, {'count': 6, 'size': (24, 32), 'scale': (0.05, 0.14)}]
    transform = TRANSFORMS.build({'type': 'MultiView', 'views': views})
    samples = [
        make(transform, texture(seed=i), i, index=i, path=f'{i}.jpg', label=i) for i in range(3)
    ]
    batch = Views.collate(samples)
    assert [tuple(image.shape) for image in batch.images] == [(3, 48, 48, 3)] * 2 + [
        (3, 24, 32, 3)
    ] * 6
    assert all(image.dtype == torch.uint8 and image.is_contiguous() for image in batch.images)
    assert batch.boxes[0].dtype == torch.float32 and batch.flipped[0].dtype == torch.bool
    assert batch.source_sizes.tolist() == [[160, 200]] * 3
    assert batch.paths == ['0.jpg', '1.jpg', '2.jpg'] and batch.labels.tolist() == [0, 1, 2]
    assert batch.photometric == [None] * 8


def test_asymmetric_recipes_stay_with_their_views():
    first = {'blur_prob': 1.0}
    second = {'blur_prob': 0.0, 'solarize_prob': 1.0}
    views = [{'size': 16, 'photometric': first}, {'size': 16, 'photometric': second}]
    sample = make(MultiView(views=views), texture())
    one, two = sample.photometric
    assert 0.1 <= one.sigma <= 2 and one.solarize == 256
    assert two.sigma == 0 and two.solarize == 128
    assert not one.jitter and not two.gray


@pytest.mark.parametrize('photometric_on', ['device', 'worker'])
def test_views_depend_on_the_generator_alone(photometric_on):
    views = [{'count': 2, 'size': 32, 'photometric': PHOTOMETRIC}]
    transform = MultiView(views=views, photometric_on=photometric_on)
    image = texture()
    first, other, again = (make(transform, image, seed) for seed in (1, 2, 1))
    assert all(map(torch.equal, first.images, again.images))
    assert torch.equal(first.boxes, again.boxes) and torch.equal(first.flipped, again.flipped)
    assert not torch.equal(first.boxes, other.boxes)
    assert not torch.equal(first.boxes[0], first.boxes[1])


def test_geometry_is_the_same_wherever_the_photometric_part_is_applied():
    views = [{'count': 2, 'size': 32, 'photometric': PHOTOMETRIC}]
    device, worker = (
        make(MultiView(views=views, photometric_on=on), texture()) for on in ('device', 'worker')
    )
    assert torch.equal(device.boxes, worker.boxes) and torch.equal(device.flipped, worker.flipped)
    assert None not in device.photometric and worker.photometric == [None, None]


@pytest.mark.parametrize('shape', [(1, 1), (1, 300), (300, 1), (2, 3), (5, 900), (900, 5)])
@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
def test_odd_pictures(shape, interpolation):
    views = [{'count': 4, 'size': 32, 'interpolation': interpolation, 'photometric': PHOTOMETRIC}]
    for on in ('device', 'worker'):
        sample = make(MultiView(views=views, photometric_on=on), texture(*shape))
        assert all(view.shape == (32, 32, 3) for view in sample.images)
        x1, y1, x2, y2 = sample.boxes.unbind(1)
        assert (x1 >= 0).all() and (y1 >= 0).all() and (x2 > x1).all() and (y2 > y1).all()
        assert (x2 <= shape[1]).all() and (y2 <= shape[0]).all()


def test_a_view_never_shares_memory_with_the_picture():
    image = texture(32, 32)
    view = resize_crop(image, (0, 0, 32, 32), (32, 32))
    assert np.array_equal(view, image) and not np.shares_memory(view, image)


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('size', [(224, 224), (64, 96), (17, 300)])
def test_resize_equals_torchvision_and_pillow(interpolation, size):
    rng = np.random.default_rng(0)
    image = texture(300, 280)
    mode = Image.BILINEAR if interpolation == 'bilinear' else Image.BICUBIC
    planes = torch.from_numpy(image.copy()).permute(2, 0, 1)
    for _ in range(10):
        box = x1, y1, x2, y2 = sample_crop(rng, 300, 280, (0.01, 1.0))
        crop = planes[:, y1:y2, x1:x2]
        torchvision = TF.resize(crop, size, T.InterpolationMode(interpolation), antialias=True)
        pillow = np.asarray(Image.fromarray(image).crop(box).resize(size[::-1], mode), int)
        for flip in (False, True):
            view = resize_crop(image, box, size, interpolation, flip)
            assert view.flags.c_contiguous
            view = view.astype(int)[:, ::-1] if flip else view.astype(int)
            assert np.abs(view - torchvision.permute(1, 2, 0).numpy()).max() <= 1
            assert np.abs(view - pillow).max() <= (1 if interpolation == 'bilinear' else 2)
            assert np.abs(view - pillow).mean() <= 0.3


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
def test_pixels_are_resized_as_they_lie_in_memory(interpolation, monkeypatch):
    """torch sees channels last memory, does not fall back to planes, and the result is the same."""
    seen, interpolate = [], torch.nn.functional.interpolate

    def spy(*args, **options):
        resized = interpolate(*args, **options)
        seen.append(resized.is_contiguous(memory_format=torch.channels_last))
        return resized

    monkeypatch.setattr(torch.nn.functional, 'interpolate', spy)
    image, box = texture(300, 280), (20, 10, 260, 290)
    found = resize_crop(image, box, (64, 96), interpolation)
    planes = torch.from_numpy(image[10:290, 20:260].transpose(2, 0, 1).copy())[None]
    expected = interpolate(planes, (64, 96), mode=interpolation, antialias=True)[0].permute(1, 2, 0)
    assert np.array_equal(found, expected.numpy()) and seen == [True]


@pytest.mark.parametrize('shape', [(160, 213), (400, 100)])
def test_crops_are_distributed_as_in_torchvision(shape):
    scale, ratio, count = (0.2, 1.0), (3 / 4, 4 / 3), 4000
    rng = np.random.default_rng(0)
    ours = np.array([sample_crop(rng, *shape, scale, ratio) for _ in range(count)], float)
    torch.manual_seed(0)
    image = torch.empty(3, *shape)
    drawn = [T.RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(count)]
    i, j, h, w = np.array(drawn, float).T
    theirs = np.stack([j, i, j + w, i + h], 1)
    for mine, reference in zip(_describe(ours), _describe(theirs), strict=True):
        # Kolmogorov-Smirnov at p = 1e-4: 2.23 * sqrt(2 / n)
        grid = np.sort(np.concatenate([mine, reference]))
        gap = np.searchsorted(np.sort(mine), grid, 'right') - np.searchsorted(
            np.sort(reference), grid, 'right'
        )
        assert np.abs(gap).max() / count < 2.23 * np.sqrt(2 / count)


def _describe(boxes: np.ndarray) -> tuple[np.ndarray, ...]:
    x1, y1, x2, y2 = boxes.T
    width, height = x2 - x1, y2 - y1
    return width * height, width / height, x1, y1


def test_fallback_is_the_largest_centred_box():
    rng = np.random.default_rng(0)
    # At scale 1 no ratio within 3/4..4/3 fits a picture of 1:10.
    assert sample_crop(rng, 10, 100, (1.0, 1.0)) == (43, 0, 56, 10)
    assert sample_crop(rng, 100, 10, (1.0, 1.0)) == (0, 43, 10, 56)


@pytest.mark.parametrize(
    ('views', 'message'),
    [
        ([], 'at least one'),
        ([{'sise': 224}], r'views\[0\].sise: ViewRecipe does not take this; did you mean size'),
        ([{'photometric': {'blur': 1}}], 'photometric.blur: Photometric does not take this'),
        ([{'photometric': {'hue': 0.7}}], 'photometric.hue'),
        ([{'photometric': {'blur_sigma': (0, 2)}}], 'photometric.blur_sigma'),
        ([{'photometric': {'gray_prob': 1.2}}], 'photometric.gray_prob'),
        ([{'scale': (0.0, 1.0)}], 'scale must be'),
        ([{'size': 0}], 'size must be'),
        ([{'count': 0}], 'count must be'),
        ([{'interpolation': 'nearest'}], "got 'nearest'"),
    ],
)
def test_bad_recipes_are_named(views, message):
    with pytest.raises(ValueError, match=message):
        MultiView(views=views)


@pytest.mark.parametrize(
    'image',
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32), np.zeros((0, 8, 3), np.uint8)],
)
def test_bad_images_are_named(image):
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\) RGB.*'a.png'"):
        make(MultiView(views=[{}]), image, path='a.png')


def test_bad_switch():
    with pytest.raises(ValueError, match="'device' or 'worker'"):
        MultiView(views=[{}], photometric_on='gpu')


def covered(boxes: torch.Tensor) -> float:
    """The share of the second box that lies inside the first."""
    near, far = boxes[:, :2].amax(0), boxes[:, 2:].amin(0)
    return float((far - near).clamp(min=0).prod() / (boxes[1, 2:] - boxes[1, :2]).prod())


@pytest.mark.parametrize('count', [1, 2])
def test_second_views_are_drawn_again_until_they_overlap(count):
    recipe = {'size': 8, 'scale': (0.05, 0.3), 'photometric': PHOTOMETRIC}
    views = [dict(recipe, count=2)] if count == 2 else [recipe, dict(recipe, size=9)]
    image, seeds = texture(40, 50), range(200)
    free, bound = (MultiView(views=views, min_overlap=share) for share in (0.0, 0.05))
    plain = [make(free, image, seed) for seed in seeds]
    drawn = [make(bound, image, seed) for seed in seeds]
    shares = [[covered(sample.boxes) for sample in samples] for samples in (plain, drawn)]
    assert sum(s < 0.05 for s in shares[0]) > 30
    assert sum(s < 0.05 for s in shares[1]) <= 4  # of 200, ten tries each
    for one, other, share in zip(plain, drawn, shares[0], strict=True):
        assert torch.equal(one.boxes[0], other.boxes[0])
        assert torch.equal(one.images[0], other.images[0])
        same = torch.equal(one.boxes, other.boxes) and torch.equal(one.images[1], other.images[1])
        assert same == (share >= 0.05)


def test_min_overlap_needs_two_plain_views():
    with pytest.raises(ValueError, match='min_overlap is a share of the crop'):
        MultiView(views=[{'count': 2}], min_overlap=2)
    with pytest.raises(ValueError, match='min_overlap needs two views'):
        MultiView(views=[{}], min_overlap=0.1)
    with pytest.raises(ValueError, match='min_overlap needs two views'):
        MultiView(views=[{}, {'type': 'JigsawPatches'}], min_overlap=0.1)


@pytest.mark.parametrize('flip', [0.0, 1.0])
def test_a_view_of_the_whole_image(flip):
    sample = make(MultiView(views=[{'size': (30, 50), 'scale': None, 'flip': flip}]), texture(90, 100))
    assert sample.boxes.tolist() == [[0, 0, 100, 90]]
    expected = resize_crop(texture(90, 100), (0, 0, 100, 90), (30, 50), flip=bool(flip))
    assert np.array_equal(sample.images[0].numpy(), expected)


def test_a_view_of_another_views_crop():
    recipe = {'size': 48, 'photometric': PHOTOMETRIC}
    views = [dict(recipe, count=2), dict(recipe, size=24, crop_of=1, count=2)]
    differ = 0
    for seed in range(40):
        image = texture(seed=seed)
        sample = make(MultiView(views=views), image, seed)
        assert torch.equal(sample.boxes[2], sample.boxes[1])
        assert torch.equal(sample.boxes[3], sample.boxes[1])
        box = tuple(int(x) for x in sample.boxes[1])
        expected = resize_crop(image, box, (24, 24), flip=bool(sample.flipped[2]))
        assert np.array_equal(sample.images[2].numpy(), expected)
        differ += int(sample.flipped[2] != sample.flipped[1])
        assert not torch.equal(sample.photometric[2].factors, sample.photometric[1].factors)
    assert 8 < differ < 32


def test_a_finer_view_of_the_same_crop_mirrored_alike():
    views = [{'size': 24, 'photometric': PHOTOMETRIC}, {'size': 48, 'crop_of': 0, 'flip': None}]
    mirrored = set()
    for seed in range(12):
        sample = make(MultiView(views=views), texture(seed=seed), seed)
        assert torch.equal(sample.boxes[0], sample.boxes[1]) and sample.flipped[0] == sample.flipped[1]
        mirrored.add(bool(sample.flipped[0]))
    assert mirrored == {True, False}
    with pytest.raises(ValueError, match='flip must be a probability, or None together with crop_of'):
        MultiView(views=[{'flip': None}])


def test_a_crop_of_no_earlier_view():
    for views in ([{'crop_of': 0}], [{}, {'crop_of': 1}], [{}, {'crop_of': -1}]):
        with pytest.raises(ValueError, match='must name an earlier view'):
            make(MultiView(views=views), texture(20, 20))
    with pytest.raises(ValueError, match='does not go together with crop_of'):
        MultiView(views=[{'count': 2}, {'crop_of': 1}], min_overlap=0.1)
