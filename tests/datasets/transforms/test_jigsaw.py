"""Patches lie where their boxes say, and nothing else about a puzzle is left to chance."""

import numpy as np
import pytest
import torch
from PIL import Image

from densecl.datasets import PretrainDataset, SampleKey, collate_views
from densecl.datasets.transforms import JigsawPatches, MultiView, resize_crop
from densecl.models.data_preprocessors import PretrainDataPreprocessor
from densecl.registry import TRANSFORMS
from densecl.structures import view_to_image

JITTER = {'brightness': 0.4, 'hue': 0.2, 'jitter_prob': 1.0, 'gray_prob': 0.2}
SMALL = {'resize': 60, 'cell': 20, 'patch': 15}


def texture(height: int = 200, width: int = 260) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3))
    return np.asarray(Image.fromarray(noise.astype(np.uint8)).resize((width, height)))


def gradient(height: int = 200, width: int = 250) -> np.ndarray:
    """Red is the pixel's x, green its y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.zeros_like(x)], -1).astype(np.uint8)


def make(transform, image, seed=0, **extra):
    return transform({'image': image, 'rng': np.random.default_rng(seed), **extra})


def test_defaults_give_nine_patches():
    sample = make(JigsawPatches(), texture(), index=3, path='a.jpg', label=5)
    assert [tuple(v.shape) for v in sample.images] == [(64, 64, 3)] * 9
    assert all(v.is_contiguous() and v.dtype == torch.uint8 for v in sample.images)
    assert sample.boxes.shape == (9, 4) and sample.boxes.dtype == torch.float32
    assert sample.flipped.dtype == torch.bool and len(set(sample.flipped.tolist())) == 1
    assert (sample.index, sample.path, sample.label) == (3, 'a.jpg', 5)
    assert sample.photometric == [None] * 9


@pytest.mark.parametrize('flip_per_patch', [False, True])
@pytest.mark.parametrize('reduced', [1, 2])
def test_colours_lie_where_the_boxes_say(flip_per_patch, reduced):
    """On a gradient a colour is a place: each patch pixel, mapped by its box and flip, is there."""
    transform = JigsawPatches(flip_per_patch=flip_per_patch)
    image, seen = gradient(), set()
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing='ij')
    points = torch.stack([x, y], -1).flatten(0, 1).expand(9, -1, -1)
    for seed in range(12):
        size = (image.shape[0] * reduced, image.shape[1] * reduced)
        sample = make(transform, image, seed, source_size=size)
        seen |= set(sample.flipped.tolist())
        found = view_to_image(points, sample.boxes, sample.flipped, (64, 64)) / reduced - 0.5
        pixels = torch.stack(sample.images)[..., :2].flatten(1, 2)
        # one level of rounding; at the border of the crop there is less to average
        assert (pixels - found).abs().max() <= 1.5
        assert (pixels - found).abs().mean() <= 0.3
    assert seen == {True, False}


def test_patches_are_pixels_of_the_resized_crop():
    """Undo box and permutation by hand: each patch is a cut-out of its own cell of one crop."""
    image = texture()
    for seed in range(10):
        sample = make(JigsawPatches(**SMALL), image, seed)
        # the crop is what MultiView would have drawn from the same numbers
        whole = make(MultiView([{'size': 60, 'scale': (0.6, 1.0)}]), image, seed)
        box, flipped = whole.boxes[0], bool(whole.flipped[0])
        crop = resize_crop(image, tuple(box.int().tolist()), (60, 60), flip=flipped)
        scale = (box[2:] - box[:2]) / 60
        cells = []
        for view, (x1, y1, x2, y2), mirrored in zip(sample.images, sample.boxes, sample.flipped, strict=True):
            assert mirrored == flipped
            torch.testing.assert_close(torch.stack([x2 - x1, y2 - y1]), 15 * scale)
            x, y = ((torch.stack([x1, y1]) - box[:2]) / scale).tolist()
            x = 60 - 15 - x if flipped else x
            assert abs(x - round(x)) < 1e-3 and abs(y - round(y)) < 1e-3
            x, y = round(x), round(y)
            assert np.array_equal(view.numpy(), crop[y : y + 15, x : x + 15])
            assert x % 20 <= 5 and y % 20 <= 5
            cells.append(y // 20 * 3 + x // 20)
        assert sorted(cells) == list(range(9))


def test_permutations_and_offsets_are_uniform():
    transform = JigsawPatches(resize=12, cell=6, patch=4, grid=2, scale=(1, 1), ratio=(1, 1), flip=0)
    image, rng = texture(12, 12), np.random.default_rng(0)
    boxes = torch.stack([transform({'image': image, 'rng': rng}).boxes for _ in range(3000)])
    places = boxes[..., :2].round().long()  # (3000, 4, 2), crop and image are the same
    cells = places[..., 1] // 6 * 2 + places[..., 0] // 6
    orders = torch.unique(cells, dim=0, return_counts=True)[1]
    assert len(orders) == 24 and orders.min() > 80  # 125 expected, standard deviation 11
    offsets = torch.bincount((places % 6).flatten(), minlength=3)
    assert len(offsets) == 3 and (offsets / offsets.sum() - 1 / 3).abs().max() < 0.015


def test_behind_other_views_of_multi_view():
    views = [{'size': 48, 'photometric': JITTER}, {'type': 'JigsawPatches', 'photometric': JITTER}]
    both = make(TRANSFORMS.build({'type': 'MultiView', 'views': views}), texture())
    alone = make(MultiView(views[:1]), texture())
    assert [v.shape[0] for v in both.images] == [48] + [64] * 9
    assert torch.equal(both.images[0], alone.images[0])
    assert torch.equal(both.boxes[0], alone.boxes[0])
    worker = make(MultiView(views, photometric_on='worker'), texture())
    assert worker.photometric == [None] * 10 and torch.equal(both.boxes, worker.boxes)
    twice = make(MultiView([{'type': 'JigsawPatches', 'count': 2}]), texture())
    assert len(twice.images) == 18 and not torch.equal(twice.boxes[:9], twice.boxes[9:])


def test_photometric_parameters_of_the_puzzle_or_of_each_patch():
    once = make(JigsawPatches(photometric=JITTER), texture()).photometric
    assert len({float(p.factors[0]) for p in once}) == 1
    each = make(JigsawPatches(photometric=JITTER, photometric_per_patch=True), texture()).photometric
    assert len({float(p.factors[0]) for p in each}) == 9


def test_flips_of_the_puzzle_or_of_each_patch():
    each = JigsawPatches(flip_per_patch=True, flip=0.3)
    flips = torch.stack([make(each, texture(40, 40), s).flipped for s in range(200)]).float()
    assert abs(flips.mean() - 0.3) < 0.04 and (flips.mean(1) % 1 != 0).float().mean() > 0.9
    assert make(JigsawPatches(flip_per_patch=True, flip=1.0), texture()).flipped.all()


def test_puzzles_depend_on_the_generator_alone():
    transform = JigsawPatches(photometric=JITTER)
    first, again, other = (make(transform, texture(), seed) for seed in (1, 1, 2))
    assert all(map(torch.equal, first.images, again.images))
    assert torch.equal(first.boxes, again.boxes) and not torch.equal(first.boxes, other.boxes)


@pytest.mark.parametrize('shape', [(1, 1), (1, 300), (300, 1), (5, 90)])
def test_odd_pictures(shape):
    sample = make(JigsawPatches(), texture(300, 300)[: shape[0], : shape[1]])
    x1, y1, x2, y2 = sample.boxes.unbind(1)
    assert (x1 >= 0).all() and (y1 >= 0).all() and (x2 > x1).all() and (y2 > y1).all()
    assert (x2 <= shape[1] + 1e-4).all() and (y2 <= shape[0] + 1e-4).all()


def test_dataset_batch_and_preprocessor(tmp_path):
    for i in range(2):
        Image.fromarray(texture(80 + i, 90)).save(tmp_path / f'{i}.png')
    views = [{'size': 48, 'photometric': JITTER}, {'type': 'JigsawPatches', 'photometric': JITTER}]
    dataset = PretrainDataset(tmp_path, pipeline=[{'type': 'MultiView', 'views': views}])
    batch = collate_views([dataset[SampleKey(0, i)] for i in range(2)])
    done = PretrainDataPreprocessor()(batch, True)['inputs']
    assert [tuple(v.shape) for v in done.images] == [(2, 3, 48, 48)] + [(2, 3, 64, 64)] * 9
    assert all(v.dtype == torch.float32 and v.isfinite().all() for v in done.images)


def cells_of(sample, grid=3, resize=60, cell=20):
    """Which cell each patch of an unmirrored puzzle of the whole image comes from."""
    x, y = (sample.boxes[:, :2] / cell).long().unbind(1)
    return (y * grid + x).tolist()


WHOLE = {**SMALL, 'scale': (1, 1), 'ratio': (1, 1), 'flip': 0}


def test_a_puzzle_of_a_list_says_its_number(tmp_path):
    orders = np.array([[8, 7, 6, 5, 4, 3, 2, 1, 0], [1, 0, 3, 2, 5, 4, 7, 6, 8], [0, 1, 2, 3, 4, 5, 6, 7, 8]])
    np.save(tmp_path / 'orders.npy', orders)
    transform = JigsawPatches(**WHOLE, permutations=str(tmp_path / 'orders.npy'))
    answers = []
    for seed in range(90):
        sample = make(transform, texture(60, 60), seed)
        (answer,) = set(sample.answers.tolist())
        assert cells_of(sample) == orders[answer].tolist()
        answers.append(answer)
    assert np.bincount(answers, minlength=3).min() > 15
    assert make(JigsawPatches(**WHOLE), texture(60, 60)).answers is None
    two = make(JigsawPatches(**WHOLE, permutations=16, count=2), texture(60, 60)).answers
    assert len(set(two[:9].tolist())) == len(set(two[9:].tolist())) == 1


def test_every_channel_is_cut_at_a_place_of_its_own():
    """On a gradient red is x and green is y: each lies at most a pixel beside the box, all over the cell."""
    y, x = np.mgrid[:60, :60]
    image = np.stack([x, y, x], -1).astype(np.uint8)
    transform, seen = JigsawPatches(**WHOLE, channel_shift=2), [set(), set(), set()]
    for seed in range(40):
        sample = make(transform, image, seed)
        for view, (x1, y1, x2, y2) in zip(sample.images, sample.boxes.tolist(), strict=True):
            assert (x2 - x1, y2 - y1) == (15, 15) and view.is_contiguous()
            corner = view[0, 0].tolist()
            assert 0 <= corner[0] % 20 <= 5 and 0 <= corner[1] % 20 <= 5  # within the cell
            for channel, (value, start) in enumerate(zip(corner, (x1, y1, x1), strict=True)):
                seen[channel].add(value - int(start))
            assert torch.equal(view[0, :, 0], corner[0] + torch.arange(15, dtype=torch.uint8))
    assert seen == [{-1, 0, 1}] * 3


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'patch': 90}, r'patch must be in 1..cell \(85\), got 90'),
        ({'grid': 4}, r'grid \* cell must be in 1..resize \(255\), got 4 \* 85'),
        ({'channel_shift': 22}, r'channel_shift must be in 0..cell - patch \(21\), got 22'),
        ({'permutations': 'no.npy'}, 'there is no file no.npy'),
        ({'scale': (0, 1)}, 'scale must be'),
        ({'photometric': {'blur': 1}}, 'photometric.blur: Photometric does not take this'),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        JigsawPatches(**arguments)


def test_a_type_without_views_is_named():
    views = [{'type': 'MultiView', 'views': [{}]}]
    with pytest.raises(ValueError, match=r"views\[0\]: 'MultiView' cannot be a recipe"):
        MultiView(views)
