"""Patches cut on the device lie where their boxes say."""

from dataclasses import replace

import pytest
import torch

from densecl.models.data_preprocessors import CutPatches, PretrainDataPreprocessor
from densecl.registry import MODELS
from densecl.structures import PhotometricParams, Views, view_to_image


def batch(size=(24, 30), count=2) -> Views:
    """Two images; a pixel's red is 4 x its x in the original, its green 4 x its y; one is mirrored."""
    boxes = torch.tensor([[10.0, 5, 40, 29], [0.0, 20, 30, 44]])
    flipped = torch.tensor([True, False])
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing='ij')
    points = torch.stack([x, y], -1).flatten(0, 1).expand(2, -1, -1)
    found = view_to_image(points, boxes, flipped, size).unflatten(1, size) * 4
    image = torch.cat([found, torch.zeros_like(found[..., :1])], -1).round().to(torch.uint8)
    return Views(
        images=[image] * count,
        boxes=[boxes] * count,
        flipped=[flipped] * count,
        source_sizes=torch.tensor([[60.0, 60.0]] * 2),
        indices=torch.arange(2),
        paths=['', ''],
        photometric=[None] * count,
    )


def cut(views: Views, **kwargs) -> Views:
    made = MODELS.build({'type': 'CutPatches', 'mean': (0, 0, 0), 'std': (1, 1, 1), **kwargs})
    return made({'inputs': views}, True)['inputs']


@pytest.mark.parametrize('patch', [None, 5])
def test_pixels_lie_where_the_boxes_say(patch):
    views = cut(batch(), patch=patch)
    assert len(views) == len(views.boxes) == len(views.flipped) == len(views.photometric) == 20
    size = (8, 10) if patch is None else (5, 5)
    y, x = torch.meshgrid(torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5, indexing='ij')
    points = torch.stack([x, y], -1).flatten(0, 1).expand(2, -1, -1)
    for v in range(2, 20):
        assert views.images[v].shape == (2, 3, *size)
        place = view_to_image(points, views.boxes[v], views.flipped[v], size)  # (2, P, 2)
        pixels = views.images[v][:, :2].flatten(2).transpose(1, 2) / 4
        torch.testing.assert_close(pixels, place, rtol=0, atol=0.126)  # rounding to a quarter of a pixel


def test_every_cell_once_and_the_order_is_drawn_once_a_view():
    torch.manual_seed(3)
    views = cut(batch())
    boxes = torch.stack(views.boxes[2:], 1).unflatten(1, (2, 9))  # (B, side, P, 4)
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1).sum(-1)
    torch.testing.assert_close(area, torch.full((2, 2), 30.0 * 24))
    corners = {tuple(c) for c in boxes[0, 0, :, :2].round().int().tolist()}
    assert corners == {(x, y) for x in (10, 20, 30) for y in (5, 13, 21)}
    first, second = boxes[1, 0] - boxes[1, 0, :1], boxes[1, 1] - boxes[1, 1, :1]
    assert not torch.equal(first, second)  # another puzzle for the key
    torch.manual_seed(3)
    again = cut(batch())
    assert all(torch.equal(a, b) for a, b in zip(views.boxes, again.boxes, strict=True))


def test_the_views_themselves_are_those_of_the_plain_preprocessor():
    params = PhotometricParams(
        order=torch.arange(4).expand(2, -1),
        factors=torch.tensor([[1.2, 0.8, 1.1, 0.1]] * 2),
        jitter=torch.ones(2, dtype=torch.bool),
        gray=torch.zeros(2, dtype=torch.bool),
        sigma=torch.zeros(2),
        solarize=torch.full((2,), 256.0),
    )
    views = replace(batch(), photometric=[params, None])
    mine = CutPatches(cut=(0,))({'inputs': views})['inputs']
    plain = PretrainDataPreprocessor()({'inputs': views})['inputs']
    assert len(mine) == 11 and len(plain) == 2
    assert all(torch.equal(a, b) for a, b in zip(mine.images, plain.images, strict=False))
    # mosaic of patches = the view: recoloured as a whole
    total = sum(mine.images[v].double().sum() for v in range(2, 11))
    torch.testing.assert_close(total, mine.images[0].double().sum(), rtol=1e-6, atol=1e-4)


def test_refusals():
    with pytest.raises(ValueError, match='grid=3 must divide the sides of view 0, which is 32 x 24 px'):
        cut(batch((24, 32)))
    with pytest.raises(ValueError, match=r'patch must be in 1..8, the side of a cell of view 0, got 9'):
        cut(batch(), patch=9)
