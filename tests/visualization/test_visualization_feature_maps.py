"""Components, similarity, segments and neighbours of features whose answer is known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from densecl.visualization import feature_maps as fm
from densecl.visualization import feature_sheets as sheets


def photos_of(means: torch.Tensor, ids: list[torch.Tensor], noise: float = 0.0) -> list[torch.Tensor]:
    """Maps (C, h, w) whose cells are the rows of ``means`` (K, C) at ``ids`` (h, w)."""
    return [(means[i] + noise * torch.randn(*i.shape, means.shape[1])).permute(2, 0, 1) for i in ids]


def two_grids(count: int) -> list[torch.Tensor]:
    """Random ids below ``count`` on two different grids."""
    return [torch.randint(count, size) for size in ((6, 8), (9, 5))]


def test_centred_cells_have_length_one_and_no_common_part():
    maps = [m.half() for m in photos_of(torch.rand(5, 16) + 10, two_grids(5))]
    cells = fm.centred(maps)
    assert cells[0].dtype == torch.float16 and [c.shape for c in cells] == [m.shape for m in maps]
    assert torch.allclose(cells[1].float().norm(dim=0), torch.ones(9, 5), atol=2e-3)
    raw, new = (fm.similarity(m[0], (0.5, 0.5)).min() for m in (maps, cells))
    assert raw > 0.99 and new < 0.5
    assert (fm.centred([torch.ones(3, 2, 2)])[0] == 0).all()


def test_components_are_those_of_the_covariance_in_order_of_variance():
    rows = torch.randn(110, 7, dtype=torch.float64) * torch.tensor([1, 5, 2, 0.5, 9, 1, 1])
    maps = [rows[:60].T.reshape(7, 6, 10), rows[60:].T.reshape(7, 5, 10)]
    found = torch.cat([m.flatten(1).T for m in fm.component_maps(maps)]).double()
    middle = rows - rows.mean(0)
    _, _, directions = torch.linalg.svd(middle, full_matrices=False)
    expected = middle @ directions[:3].T
    expected = expected / expected.pow(2).mean(0).sqrt()
    for mine, other in zip(found.T, expected.T, strict=True):
        assert min((mine - other).abs().max(), (mine + other).abs().max()) < 1e-3
    for column, channel in enumerate((4, 1, 2)):  # the largest entry of a direction is positive
        assert (found[:, column] * middle[:, channel]).mean() > 0


def test_colours_follow_the_channels_of_largest_variance():
    maps = [torch.zeros(5, 4, 4), torch.zeros(5, 4, 4)]
    maps[0][3, :2], maps[0][1, :, :2] = 9, 4  # channel 3 varies most: red; channel 1 less: green
    maps[1][3, 2:], maps[1][1, :, 2:] = 9, 4
    colours = fm.component_colors(fm.component_maps(maps))
    assert [c.shape for c in colours] == [(4, 4, 3)] * 2 and colours[0].dtype == np.uint8
    assert colours[0][0, 0].tolist() == [255, 255, 128] and colours[0][3, 3].tolist() == [0, 0, 128]
    assert colours[1][3, 0].tolist() == [255, 0, 128] and colours[1][0, 3].tolist() == [0, 255, 128]


def test_fewer_channels_than_colours_and_no_variance():
    assert [c.shape for c in fm.component_maps([torch.randn(2, 3, 3)])] == [(3, 3, 3)]
    grey = fm.component_colors(fm.component_maps([torch.ones(4, 3, 3)]))
    assert (grey[0] == 128).all()


def test_a_turned_network_gets_the_colours_of_the_first():
    maps = [torch.randn(8, 6, 7) * torch.arange(1, 9)[:, None, None], torch.randn(8, 5, 5)]
    turn, _ = torch.linalg.qr(torch.randn(8, 8))
    first = fm.component_maps(maps)
    turned = fm.component_maps([torch.einsum('chw,cd->dhw', m, turn) for m in maps])
    for mine, other in zip(fm.aligned(turned, first), first, strict=True):
        assert torch.allclose(mine, other, atol=1e-3)
    swapped = [s[[2, 0, 1]] * torch.tensor([-1.0, 1, -1])[:, None, None] for s in first]
    assert torch.allclose(fm.aligned(swapped, first)[0], first[0], atol=1e-4)
    finer = [F.interpolate(s[None], scale_factor=2, mode='nearest')[0] for s in swapped]
    like = F.interpolate(first[0][None], scale_factor=2, mode='nearest')[0]
    assert F.cosine_similarity(fm.aligned(finer, first)[0].flatten(), like.flatten(), dim=0) > 0.99


def test_similarity_is_one_at_the_point_and_the_cosine_elsewhere():
    features = torch.randn(6, 4, 5)
    found = fm.similarity(features, (0.5, 0.3))  # row 1, column 2
    assert found.shape == (4, 5) and abs(float(found[1, 2]) - 1) < 1e-6
    expected = F.cosine_similarity(features[:, 3, 0], features[:, 1, 2], dim=0)
    assert torch.allclose(found[3, 0], expected, atol=1e-6)


def test_cell_of_a_point():
    grid = (4, 8)
    points = ((0, 0), (1, 1), (0.49, 0.51))
    assert [fm.cell_at(point, grid) for point in points] == [(0, 0), (3, 7), (2, 3)]
    for point in ((1.2, 0.5), (0.5, -0.1), (float('nan'), 0)):
        with pytest.raises(ValueError, match='shares of the photo'):
            fm.cell_at(point, grid)


def test_two_clusters_are_found_exactly_and_the_larger_is_0():
    ids = [torch.zeros(6, 8, dtype=torch.int64), torch.zeros(9, 5, dtype=torch.int64)]
    ids[0][2:5, 3:6], ids[1][:, 4] = 1, 1
    maps = photos_of(torch.randn(2, 12) * 5, ids, noise=0.1)
    found = fm.segments(maps, 2, torch.Generator().manual_seed(0))
    assert all(torch.equal(mine, true) for mine, true in zip(found, ids, strict=True))
    one = fm.segments([torch.ones(3, 1, 2)], 5, torch.Generator().manual_seed(0))  # more clusters than cells
    assert one[0].shape == (1, 2)


def test_segments_of_a_second_network_take_the_names_of_the_first():
    first = two_grids(4)
    names = torch.tensor([2, 0, 3, 1])
    assert all(map(torch.equal, fm.renamed([names[m] for m in first], first), first))
    finer = [names[m].repeat_interleave(2, 0).repeat_interleave(2, 1) for m in first]
    assert torch.equal(fm.renamed(finer, first)[0][::2, ::2], first[0])


def test_neighbours_find_the_planted_twin():
    maps = [torch.randn(16, 5, 6) for _ in range(5)]
    maps[3] = maps[1] + 0.05 * torch.randn(16, 5, 6)
    assert fm.nearest_images(maps, 1, 2)[0] == 3 and fm.nearest_images(maps, 3, 9)[0] == 1
    assert len(fm.nearest_images(maps, 0, 9)) == 4
    maps[4] = torch.randn(16, 7, 4)  # another grid
    maps[4][:, 6, 3] = 3 * maps[0][:, 2, 2]
    (photo, point, cosine), *others = fm.nearest_cells(maps, 0, (0.4, 0.5), 3)
    assert photo == 4 and fm.cell_at(point, (7, 4)) == (6, 3) and abs(cosine - 1) < 1e-5
    assert len({photo, *(o[0] for o in others)}) == 3 and 1 > others[0][2] >= others[1][2]


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_the_telling_point_is_on_the_object_that_is_not_plain(dtype):
    """Of two areas that differ from the ground equally, and a corner that differs most."""
    features = torch.zeros(3, 12, 16, dtype=dtype)
    features[0, 3:7, 2:6] = features[1, 3:7, 9:14] = 1
    features[2, 0, 0] = 1
    photo = np.full((96, 128, 3), 90, np.uint8)
    photo[24:56, 72:112:4] = 30
    y, x = fm.cell_at(sheets.telling_point(features, photo), (12, 16))
    assert 3 <= y < 7 and 9 <= x < 14
    assert fm.cell_at(sheets.telling_point(features[:, :1, :1], photo), (1, 1)) == (0, 0)


def test_sheets_have_a_row_a_photo_and_a_column_a_network():
    photos = [np.full((60, 80, 3), 90, np.uint8), np.full((90, 60, 3), 200, np.uint8)]
    maps = {
        'one': [torch.randn(8, 3, 4), torch.randn(8, 5, 3)],
        'two': [torch.randn(6, 6, 8), torch.randn(6, 9, 6)],
    }
    points = [[(0.2, 0.2)], [(0.9, 0.9)]]
    groups = sheets.segments_of(maps, 3)
    assert [m.shape for m in groups['two']] == [(6, 8), (9, 6)]
    drawn = [
        sheets.draw_components(photos, maps, 40),
        sheets.draw_similarity(photos, maps, points, 40),
        sheets.draw_segments(photos, groups, 40),
        sheets.draw_nearest_images(photos, maps, 2, 40),
        sheets.draw_nearest_cells(photos, maps, [each[0] for each in points], 40),
    ]
    for sheet in drawn:
        assert sheet.dtype == np.uint8 and sheet.shape[0] == 20 + 20 + 40 + 6 + 40
    assert (photos[0] == 90).all()  # nothing is drawn on the photos themselves
    wide = sheets.draw_similarity(photos, maps, [points[0] * 2, points[1] * 2], 40)
    assert wide.shape[1] > 4 * 53 + 40 and wide.shape[0] == drawn[1].shape[0]
