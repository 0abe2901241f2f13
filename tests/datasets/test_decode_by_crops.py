"""Photos that are decoded after their crops are drawn, at the size that these need."""

import io
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from densecl.datasets import PretrainDataset, SampleKey, UnreadableImageError
from densecl.datasets.decode import EXIF_ORIENTATION, Photo, decode_image, open_photo
from densecl.datasets.transforms import Crop, DrawnView
from densecl.datasets.transforms.drawn import fit_to_photo, make_pixels
from densecl.structures import Proposals, view_to_image

VIEWS = dict(type='MultiView', views=[dict(count=2, size=48, scale=(0.2, 1.0))])
PUZZLE = dict(
    type='MultiView', views=[dict(size=64), dict(type='JigsawPatches', resize=60, cell=20, patch=16)]
)


def ramp(width: int, height: int) -> Image.Image:
    """Red is the share of the way to the right, green to the bottom, in 255ths."""
    y, x = np.mgrid[:height, :width] + 0.5
    pixels = np.stack([x * 255 / width, y * 255 / height, np.full_like(x, 90)], -1)
    return Image.fromarray(pixels.round().astype(np.uint8))


def jpeg(image: Image.Image, orientation: int = 1) -> bytes:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    image.save(stream, 'JPEG', quality=97, exif=exif)
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    sizes = ((901, 703), (640, 480), (1203, 950), (100, 80))
    for i, size in enumerate(sizes):
        (tmp_path / f'{i}.jpg').write_bytes(jpeg(ramp(*size)))
    return tmp_path


@pytest.fixture
def scales(monkeypatch):
    """The scales that photos are decoded at, in order."""
    found, decode = [], Photo.decode

    def spy(photo, scale=1):
        found.append(scale)
        return decode(photo, scale)

    monkeypatch.setattr(Photo, 'decode', spy)
    return found


@pytest.mark.parametrize('scale', [1, 2, 4, 8])
@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_a_pixel_shows_the_pixels_that_it_stands_for(scale, orientation):
    photo = open_photo(jpeg(ramp(304, 208), orientation))
    full, small = decode_image(jpeg(ramp(304, 208), orientation)), photo.decode(scale)
    assert photo.shape == full.shape and small.shape == (full.shape[0] // scale, full.shape[1] // scale, 3)
    cells = full.reshape(small.shape[0], scale, small.shape[1], scale, 3).mean((1, 3))
    assert np.abs(small - cells).max() < 4 and np.abs(small - cells).mean() < 1


def test_turned_photos_are_reduced_only_where_no_pixel_is_cut():
    assert open_photo(jpeg(ramp(301, 203))).scales == [8, 4, 2, 1]
    assert open_photo(jpeg(ramp(300, 204), 6)).scales == [4, 2, 1]
    assert open_photo(jpeg(ramp(301, 203), 3)).scales == [1]


@pytest.mark.parametrize('resolution', [0.5, 0.75, 1.0, 1.5])
def test_the_coarsest_scale_at_which_all_crops_keep_their_pixels(resolution):
    rng, chosen = np.random.default_rng(0), []
    for _ in range(300):
        width, height = rng.integers(50, 2500, 2).tolist()
        photo, views = Photo(b'', '', (width, height), 1, resolution), []
        for side in (40, 56):
            w, h = rng.integers(width // 3, width + 1), rng.integers(height // 3, height + 1)
            x, y = rng.integers(0, width - w + 1), rng.integers(0, height - h + 1)
            views.append(DrawnView(Crop(tuple(map(int, (x, y, x + w, y + h))), (side, side + 3))))
        fitted = fit_to_photo(photo, views)
        least = min(
            min(Fraction(v.box[2] - v.box[0], v.size[1]), Fraction(v.box[3] - v.box[1], v.size[0]))
            for v in views
        ) / Fraction(resolution)
        scale = 8 if least >= 8 else 4 if least >= 4 else 2 if least >= 2 else 1
        chosen.append(scale)
        for view, moved in zip(views, fitted, strict=True):
            x1, y1, x2, y2 = moved.box
            assert moved.crop.scale == scale and not any(edge % scale for edge in moved.box)
            assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
            if scale > 1:  # no view is enlarged for it
                pixels = np.array([x2 - x1, y2 - y1]) // scale
                assert (pixels >= np.floor(resolution * np.array(view.size[::-1]))).all()
            assert np.abs(np.subtract(moved.box, view.box)).max() <= scale - 1
    assert set(chosen) == {1, 2, 4, 8}


@pytest.mark.parametrize('pipeline', [VIEWS, PUZZLE])
@pytest.mark.parametrize('orientation', [1, 6])
def test_colours_lie_where_the_boxes_say(tmp_path, scales, pipeline, orientation):
    (tmp_path / 'a.jpg').write_bytes(jpeg(ramp(904, 704), orientation))
    dataset, flips = PretrainDataset(tmp_path, pipeline=[pipeline]), set()
    original = decode_image(tmp_path / 'a.jpg').astype(float)
    for epoch in range(6):
        sample = dataset[SampleKey(epoch, 0)]
        assert sample.source_size == original.shape[:2]
        for v, view in enumerate(sample.images):
            flips.add(bool(sample.flipped[v]))
            h, w = view.shape[:2]
            y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing='ij')
            points = torch.stack([x, y], -1).flatten(0, 1)[None]
            box, flip = sample.boxes[v : v + 1], sample.flipped[v : v + 1]
            x, y = view_to_image(points, box, flip, (h, w))[0].unbind(-1)
            columns = x.long().clamp(max=original.shape[1] - 1)
            expected = torch.from_numpy(original)[y.long().clamp(max=original.shape[0] - 1), columns]
            error = (view.flatten(0, 1).double() - expected).view(h, w, 3)[3:-3, 3:-3]
            assert error.abs().max() < 5 and error.mean((0, 1)).abs().max() < 0.7
    assert flips == {True, False} and max(scales) >= 4


def test_views_differ_little_from_those_of_a_full_decode(folder, scales):
    late, full = (
        PretrainDataset(folder, pipeline=[VIEWS], decode_resolution=resolution) for resolution in (1.0, None)
    )
    for index in range(4):
        a, b = late[index], full[index]
        assert torch.equal(a.flipped, b.flipped) and a.source_size == b.source_size
        scale = scales[2 * index]
        assert (a.boxes - b.boxes).abs().max() <= scale - 1
        for one, other in zip(a.images, b.images, strict=True):
            difference = (one.float() - other.float()).abs().mean()
            assert difference < 1.5 and (scale > 1 or torch.equal(one, other))
    assert scales[::2] == [4, 4, 8, 1] and set(scales[1::2]) == {1}


def test_a_key_gives_the_same_views_whatever_was_read_before(folder):
    dataset = PretrainDataset(folder, pipeline=[VIEWS])
    order = [SampleKey(1, 2), SampleKey(0, 0), SampleKey(1, 2), SampleKey(2, 2)]
    first, _, again, other = (dataset[key] for key in order)
    assert torch.equal(first.boxes, again.boxes) and all(map(torch.equal, first.images, again.images))
    assert not torch.equal(first.boxes, other.boxes)


class RedSquare:
    """Where the red square of the photos below is."""

    reads_pixels = False

    def __call__(self, image, image_id):
        assert isinstance(image, Photo)
        return Proposals([[400, 240, 720, 560]], image.shape[:2])


def test_proposals_lie_on_their_objects(tmp_path, scales):
    pixels = np.zeros((800, 1100, 3), np.uint8)
    pixels[240:560, 400:720, 0] = 255
    Image.fromarray(pixels).save(tmp_path / 'a.jpg', quality=97)
    objects = dict(objects=dict(type='SelectBoxes', count=1, jitter_prob=0))
    dataset = PretrainDataset(tmp_path, pipeline=[dict(VIEWS, regions=objects)], proposals=RedSquare())
    for epoch in range(12):
        sample = dataset[SampleKey(epoch, 0)]
        for view, placed in zip(sample.images, sample.regions['objects'], strict=True):
            x1, y1, x2, y2 = placed.boxes[0].tolist()
            red = view[..., 0].float() / 255
            # a box that ends within a pixel covers a part of it
            assert abs(float(red.sum()) - (x2 - x1) * (y2 - y1)) < 0.6 * (x2 - x1 + y2 - y1)
            inner = red[int(y1) + 2 : int(y2) - 1, int(x1) + 2 : int(x2) - 1]
            assert inner.numel() == 0 or inner.min() > 0.8
    assert len(scales) == 12 and max(scales) >= 4


def test_who_reads_pixels_gets_all_of_them(folder, scales):
    def provider(image, image_id):
        assert isinstance(image, np.ndarray) and image.shape[2] == 3
        return Proposals(np.zeros((0, 4)), image.shape[:2])

    for options in (dict(proposals=provider), dict(decode_resolution=None)):
        PretrainDataset(folder, pipeline=[VIEWS], **options)[0]
    seen = PretrainDataset(folder, pipeline=[lambda results: results])[0]
    assert isinstance(seen['image'], np.ndarray) and set(scales) == {1}


def test_redrawn_views_are_made_once(folder, scales, monkeypatch):
    """Ten draws for an overlap cost one decode and no resize but the last."""
    cuts, cut = [], Crop.cut
    monkeypatch.setattr(Crop, 'cut', lambda crop, pixels: cuts.append(crop) or cut(crop, pixels))
    pipeline = dict(VIEWS, views=[dict(count=2, size=48, scale=(0.01, 0.02))], min_overlap=0.9)
    PretrainDataset(folder, pipeline=[pipeline])[0]
    assert len(scales) == 1 and len(cuts) == 2


def test_several_patches_of_a_crop_are_cut_from_one_resize(monkeypatch):
    cuts, cut = [], Crop.cut
    monkeypatch.setattr(Crop, 'cut', lambda crop, pixels: cuts.append(crop) or cut(crop, pixels))
    image = np.asarray(ramp(60, 50))
    crop = Crop((5, 5, 55, 45), (40, 40))
    views = [DrawnView(crop, part=(x, 3, x + 16, 19), mirrored=x > 0) for x in (0, 20)]
    pixels = make_pixels(image, views)
    assert len(cuts) == 1 and [p.shape for p in pixels] == [(16, 16, 3)] * 2
    whole = cut(crop, image)
    assert np.array_equal(pixels[0], whole[3:19, :16]) and np.array_equal(
        pixels[1], whole[3:19, 20:36][:, ::-1]
    )


def damaged(data: bytes) -> bytes:
    """The header of a JPEG without its picture."""
    return data[: data.index(b'\xff\xda')] + b'\xff\xd9'


def test_a_photo_that_cannot_be_decoded_is_named_or_replaced(folder):
    path = folder / '0.jpg'
    path.write_bytes(damaged(path.read_bytes()))
    assert isinstance(open_photo(path), Photo)  # its header is fine
    with pytest.raises(UnreadableImageError, match=r'cannot read image .*0\.jpg'):
        PretrainDataset(folder, pipeline=[VIEWS])[0]
    dataset = PretrainDataset(folder, pipeline=[VIEWS], on_error='skip', max_unreadable=1)
    sample = dataset[0]
    assert sample.index != 0 and list(dataset.unreadable) == [path.name]
    # the views of the other photo are those that this key's generator draws
    assert torch.equal(sample.boxes, dataset[0].boxes)


def test_a_resolution_that_is_too_low(folder):
    with pytest.raises(ValueError, match='decode_resolution must be 0.5 or more .* got 0.2'):
        PretrainDataset(folder, decode_resolution=0.2)
