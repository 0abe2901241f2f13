"""A teacher that is read from maps: views get the features of the place that they show."""

from dataclasses import replace

import pytest
import torch

from densecl.registry import MODELS
from densecl.structures import Views, cell_centers

NAME, SIZE = 'data/maps/strong', (48, 64)  # height and width of the originals


def teacher(**options):
    given = dict(backbone=dict(type='densecl.TimmViT'), channels=2, patch=8, stride=8, start='x', maps=NAME)
    return MODELS.build(dict(given, type='densecl.TeacherFeatures', **options))


def views_of(boxes, flipped, maps):
    boxes, flipped = torch.tensor(boxes), torch.tensor(flipped)
    return Views(
        images=[torch.zeros(boxes.shape[1], 3, 16, 24)] * len(boxes),
        boxes=boxes,
        flipped=flipped,
        source_sizes=torch.tensor([SIZE] * boxes.shape[1], dtype=torch.float32),
        indices=torch.arange(boxes.shape[1]),
        paths=['a.png'] * boxes.shape[1],
        photometric=[None] * len(boxes),
        maps={NAME: maps},
    )


def place_maps(grid=(12, 16)):
    """A map of two channels, each cell's own x and y in pixels of the original."""
    frame = torch.tensor([[0.0, 0.0, SIZE[1], SIZE[0]]])
    centers = cell_centers(frame, torch.zeros(1, dtype=torch.bool), grid)
    return centers.mT.unflatten(2, grid).expand(2, -1, -1, -1).half()


def test_a_cell_has_the_features_of_its_place():
    boxes = [[[10.0, 8, 50, 40], [4.0, 4, 60, 40]], [[16.0, 10, 40, 30], [8.0, 8, 30, 44]]]
    flipped = [[False, True], [True, False]]
    views = views_of(boxes, flipped, place_maps())
    seen = teacher().seen(views)
    for view in range(2):
        (level,) = teacher()(seen.images[view])
        want = cell_centers(views.boxes[view], views.flipped[view], (2, 3))
        torch.testing.assert_close(level, want.mT.unflatten(2, (2, 3)), atol=1e-3, rtol=0)
    assert level.dtype == torch.float32 and not list(teacher().parameters())


def test_the_whole_image_has_its_own_map():
    maps = torch.randn(1, 2, 4, 6).half()
    views = views_of([[[0.0, 0, 64, 48]]], [[False]], maps)
    views = replace(views, images=[torch.zeros(1, 3, 16, 24)])
    (level,) = teacher(patch=4)(teacher(patch=4).seen(views).images[0])
    # two values along each side of a cell, interpolated: 1 / 4 of the way to each neighbour
    rows = torch.nn.functional.interpolate(maps.float(), scale_factor=2, mode='bilinear')
    torch.testing.assert_close(level, torch.nn.functional.avg_pool2d(rows, 2))


def test_mistakes_are_named():
    views = views_of([[[0.0, 0, 64, 48]]], [[False]], torch.zeros(1, 3, 4, 6).half())
    with pytest.raises(ValueError, match='maps of data/maps/strong have 3 channels, not 2'):
        teacher().seen(views)
    with pytest.raises(ValueError, match=r"no maps of 'other'; .*dataset\.maps=\['other'\]"):
        teacher(maps='other').seen(views)
    assert teacher(maps=None, backbone=dict(type='densecl.ConvMLP', channels=(3, 2))).seen(views) is views
