"""Warped views: pixels against torchvision, places point by point against OpenCV and against a ramp."""

import cv2
import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as TF

from densecl.datasets.transforms import MultiView
from densecl.datasets.transforms.overlap_boxes import OverlapBoxes
from densecl.datasets.transforms.recipe import ViewRecipe
from densecl.datasets.transforms.select_boxes import _seen_in_all
from densecl.datasets.transforms.select_masks import cell_shares
from densecl.datasets.transforms.selector import place
from densecl.datasets.transforms.sliding_windows import sliding_windows, windows_in_view
from densecl.datasets.transforms.warp import Warp, affine_matrix, homography, warp_crop
from densecl.structures import Views, cell_centers, image_to_view, view_to_image

WARP = dict(rotation=(-180, 180), translate=(0.2, 0.1), scale=(0.7, 1.4), shear=(-20, 20), shear_y=(-10, 10))
ALL = dict(WARP, perspective=0.4)


def noise(shape=(60, 80, 3), dtype='uint8', high=256) -> np.ndarray:
    return (np.random.default_rng(0).random(shape) * high).astype(dtype)


def ramp(height: int = 200, width: int = 240) -> np.ndarray:
    """The first channel is the pixel centre's x, the second its y; float32."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([x, y], -1).astype(np.float32)


def drawn(seed: int, **recipe):
    recipe = ViewRecipe(**{'size': (48, 64), 'flip': 0.5, 'flip_vertical': 0.5, 'warp': ALL, **recipe})
    return recipe.draw(ramp(), np.random.default_rng(seed))[0]


AFFINE = [
    (30.0, (0, 0), 1.0, (0, 0)),
    (0.0, (7, -4), 1.0, (0, 0)),
    (0.0, (0, 0), 1.5, (0, 0)),
    (-140.0, (5, 3), 1.2, (15, -8)),
]


@pytest.mark.parametrize(('angle', 'translate', 'scale', 'shear'), AFFINE)
@pytest.mark.parametrize('fill', [0.0, (10.0, 200.0, 90.0)])
def test_affine_is_torchvisions_within_one_level(angle, translate, scale, shear, fill):
    image = noise()
    shares = translate[0] / 80, translate[1] / 60
    matrix = tuple(affine_matrix(angle, shares, scale, shear, (60, 80)).ravel())
    found = warp_crop(image, (0, 0, 80, 60), (60, 80), matrix, fill)
    planes = torch.from_numpy(image).permute(2, 0, 1)
    mode = TF.InterpolationMode.BILINEAR
    want = TF.affine(planes, angle, list(translate), scale, list(shear), mode, fill=fill)
    # Between photo and fill torchvision weighs twice; without a fill it does not.
    shares = TF.affine(torch.ones(3, 60, 80), angle, list(translate), scale, list(shear), mode)
    whole = ((shares < 1e-4) | (shares > 1 - 1e-4)).permute(1, 2, 0).numpy()
    difference = np.abs(found.astype(int) - want.permute(1, 2, 0).numpy())
    assert difference[whole].max() <= 1 and whole.mean() > 0.9
    if not fill:
        want = TF.affine(planes, angle, list(translate), scale, list(shear), mode)
        assert np.abs(found.astype(int) - want.permute(1, 2, 0).numpy()).max() <= 1


def test_rotation_is_torchvisions_within_one_level():
    image = noise()
    matrix = tuple(
        affine_matrix(-37.0, (0, 0), 1.0, (0, 0), (60, 80)).ravel()
    )  # its rotate turns the other way
    want = TF.rotate(torch.from_numpy(image).permute(2, 0, 1), 37.0, TF.InterpolationMode.BILINEAR)
    found = warp_crop(image, (0, 0, 80, 60), (60, 80), matrix)
    assert np.abs(found.astype(int) - want.permute(1, 2, 0).numpy()).max() <= 1


def test_perspective_is_torchvisions_within_one_level():
    image, end = noise(), [[9, 4], [70, 0], [79, 55], [3, 50]]
    start = [[0, 0], [79, 0], [79, 59], [0, 59]]
    # torchvision's points are centres of pixels; its matrix is that of continuous coordinates all the same.
    shares = np.array([80, 60])
    matrix = homography(np.array(end) / shares, np.array(start) / shares)
    want = TF.perspective(torch.from_numpy(image).permute(2, 0, 1), start, end, TF.InterpolationMode.BILINEAR)
    found = warp_crop(image, (0, 0, 80, 60), (60, 80), tuple(matrix.ravel()))
    assert np.abs(found.astype(int) - want.permute(1, 2, 0).numpy()).max() <= 1


@pytest.mark.parametrize(
    ('channels', 'dtype', 'high'), [(1, 'uint8', 255), (5, 'uint16', 60000), (2, 'float32', 1)]
)
def test_any_depth_and_number_of_channels(channels, dtype, high):
    image = noise((60, 80, channels), dtype, high)
    matrix = tuple(affine_matrix(20.0, (0, 0), 1.0, (0, 0), (60, 80)).ravel())
    found = warp_crop(image, (0, 0, 80, 60), (60, 80), matrix)
    planes = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)
    want = TF.affine(planes, 20.0, [0, 0], 1.0, [0, 0], TF.InterpolationMode.BILINEAR).permute(1, 2, 0)
    assert found.dtype == image.dtype
    np.testing.assert_allclose(
        found.astype(np.float64), want.numpy(), rtol=1e-5, atol=1 if high > 1 else 1e-5
    )


@pytest.mark.parametrize('mirrored', [0.0, 1.0])
def test_upside_down_is_torchvisions(mirrored):
    transform = MultiView([dict(size=(60, 80), scale=None, flip=mirrored, flip_vertical=1.0)])
    sample = transform(dict(image=noise(), rng=np.random.default_rng(0)))
    want = TF.vertical_flip(torch.from_numpy(noise()).permute(2, 0, 1)).permute(1, 2, 0)
    assert torch.equal(sample.images[0], want.flip(1) if mirrored else want)
    assert sample.boxes.tolist() == [[0, 0, 80, 60]]


@pytest.mark.parametrize('seed', range(8))
@pytest.mark.parametrize('size', [(48, 64), (150, 150)])
def test_pixels_show_the_places_that_the_geometry_says(seed, size):
    """Made smaller and larger: a pixel of a ramp's view has the coordinates of its centre."""
    recipe = dict(size=size, flip=0.5, flip_vertical=0.5, warp=dict(ALL, fill=-1000.0))
    sample = MultiView([recipe])(dict(image=ramp(), channels=2, rng=np.random.default_rng(seed)))
    views = Views.collate([sample])
    where = cell_centers(views.boxes[0].double(), views.flipped[0], size, views.warp(0))[0]
    seen = sample.images[0].view(-1, 2).double()
    margin = torch.tensor([240.0, 200.0])
    inside = ((where > 8) & (where < margin - 8)).all(1)
    outside = ((where < -8) | (where > margin + 8)).any(1)
    assert inside.sum() > 100
    torch.testing.assert_close(seen[inside], where[inside], atol=0.35, rtol=0)
    assert (seen[outside] == -1000).all()


def by_hand(points: np.ndarray, view) -> np.ndarray:
    """Points of a view in the photo, through OpenCV."""
    points = points / view.size[::-1]
    if view.flipped:
        points[:, 0] = 1 - points[:, 0]
    matrix = np.reshape(view.crop.warp, (3, 3))
    shares = cv2.perspectiveTransform(points[None], matrix)[0]
    x1, y1, x2, y2 = view.crop.box
    return shares * [x2 - x1, y2 - y1] + [x1, y1]


def geometry(view) -> tuple:
    return torch.tensor([view.box]).double(), torch.tensor([view.flipped]), view.size, view.warp[None]


@pytest.mark.parametrize('seed', range(6))
def test_points_go_where_opencv_sends_them_and_back(seed):
    view = drawn(seed)
    points = np.random.default_rng(seed).random((50, 2)) * view.size[::-1]
    there = view_to_image(torch.from_numpy(points)[None], *geometry(view))
    np.testing.assert_allclose(there[0].numpy(), by_hand(points, view), atol=1e-8)
    torch.testing.assert_close(image_to_view(there, *geometry(view))[0].numpy(), points, atol=1e-7, rtol=0)


def test_the_box_is_that_around_the_view():
    for seed in range(20):
        view = drawn(seed)
        corners = by_hand(np.array([[0.0, 0], [64, 0], [64, 48], [0, 48]]), view)
        np.testing.assert_allclose(view.box, [*corners.min(0), *corners.max(0)], atol=1e-9)


@pytest.mark.parametrize('seed', range(6))
def test_boxes_of_a_view_are_those_around_the_warped_ones(seed):
    view = drawn(seed)
    x1, y1, x2, y2 = view.box
    inner = torch.tensor(
        [[x1 + 0.45 * (x2 - x1), y1 + 0.45 * (y2 - y1), x1 + 0.55 * (x2 - x1), y1 + 0.55 * (y2 - y1)]]
    )
    away = torch.tensor([[x2 + 1, y2 + 1, x2 + 9, y2 + 9]])
    placed, keep = place(torch.cat([inner, away]).double(), view)
    assert keep.tolist() == [True, False] and _seen_in_all(inner.double(), [view, view]).all()
    a, b, c, d = inner[0].tolist()
    corners = torch.tensor([[[a, b], [c, b], [c, d], [a, d]]]).double()
    points = image_to_view(corners, *geometry(view))[0]
    want = torch.cat([points.amin(0), points.amax(0)])
    torch.testing.assert_close(
        placed[0], want.clamp(min=0).minimum(torch.tensor([64.0, 48, 64, 48]).double())
    )


def test_masks_of_a_view_are_those_of_its_pixels():
    labels = np.zeros((200, 240), np.int64)
    labels[50:150, 100:180] = 1
    for seed in range(5):
        view = drawn(seed)
        shares = cell_shares(labels, view.box, view.flipped, view.size, (6, 8), 4, view.warp)
        x, y = np.meshgrid(np.arange(64) + 0.5, np.arange(48) + 0.5)
        where = np.floor(by_hand(np.stack([x, y], -1).reshape(-1, 2), view)).astype(int)
        want = [labels[v, u] if 0 <= u < 240 and 0 <= v < 200 else 3 for u, v in where.tolist()]
        cells = np.array(want).reshape(6, 8, 8, 8).swapaxes(1, 2).reshape(6, 8, 64)
        np.testing.assert_allclose(shares, [(cells == k).mean(2) for k in range(4)], atol=1e-6)


def test_masks_upside_down_are_those_upside_down():
    labels = np.random.default_rng(0).integers(0, 3, (200, 240))
    plain, turned = (drawn(3, warp=None, flip=0, flip_vertical=p) for p in (0.0, 1.0))
    assert plain.warp is None and plain.box == turned.box
    first, second = (cell_shares(labels, v.box, False, v.size, (6, 8), 4, v.warp) for v in (plain, turned))
    assert np.array_equal(first, second[:, ::-1])


def test_windows_lie_around_the_warped_ones():
    whole = ViewRecipe(size=(48, 64), scale=None, flip=0).draw(ramp(), np.random.default_rng(0))[0]
    turned = whole._replace(
        crop=whole.crop._replace(warp=tuple(affine_matrix(20, (0, 0), 1, (0, 0), (48, 64)).ravel()))
    )
    windows = sliding_windows(whole.size, 12, 6)
    found = windows_in_view(windows, whole, turned)
    x1, y1, x2, y2 = windows.T
    corners = torch.stack([x1, y1, x2, y1, x2, y2, x1, y2], 1).view(-1, 4, 2).numpy() - [32, 24]
    turn = np.array([[np.cos(np.pi / 9), -np.sin(np.pi / 9)], [np.sin(np.pi / 9), np.cos(np.pi / 9)]])
    corners = corners @ turn.T + [32, 24]
    want = np.concatenate([corners.min(1), corners.max(1)], 1)
    inside = (want[:, :2] >= 0).all(1) & (want[:, 2:] <= [64, 48]).all(1)
    assert np.array_equal(found.ids.numpy() >= 0, inside) and 5 < inside.sum() < len(inside)
    np.testing.assert_allclose(found.boxes.numpy()[inside], want[inside], atol=1e-4)


def test_boxes_of_an_overlap_need_upright_views():
    upright = [drawn(i, scale=(0.9, 1.0), warp=None, flip_vertical=1.0) for i in range(2)]
    regions = OverlapBoxes(4, 8).choose(dict(rng=np.random.default_rng(0)), upright)
    middles = [
        view_to_image((r.boxes[None, :, :2] + r.boxes[None, :, 2:]).double() / 2, *geometry(v))
        for r, v in zip(regions, upright, strict=True)
    ]
    torch.testing.assert_close(*middles, atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match='OverlapBoxes: view 1 is warped'):
        OverlapBoxes(4, 8).choose(dict(rng=np.random.default_rng(0)), [upright[0], drawn(0)])


def test_a_view_can_follow_another_in_all_of_its_geometry():
    views = [dict(size=48, warp=ALL, flip_vertical=0.5), dict(size=24, crop_of=0, flip=None)]
    sample = MultiView(views)(dict(image=ramp(), channels=2, rng=np.random.default_rng(2)))
    assert (
        torch.equal(*sample.boxes) and torch.equal(*sample.warps) and sample.flipped[0] == sample.flipped[1]
    )


def test_warps_depend_on_the_generator_alone_and_others_draw_as_before():
    first, again, other = (drawn(seed) for seed in (1, 1, 2))
    assert first == again and first.crop.warp != other.crop.warp
    rngs = [np.random.default_rng(0) for _ in range(3)]
    for rng, prob in zip(rngs, (0.0, 1.0), strict=False):
        Warp(**ALL, prob=prob).draw(rng, (48, 64))
    rngs[2].random(15)
    assert len({rng.random() for rng in rngs}) == 1
    assert drawn(5, warp=None, flip_vertical=0.0).warp is None
    plain = MultiView([dict(size=16)])(dict(image=noise(), rng=np.random.default_rng(0)))
    assert plain.warps is None


def test_samples_of_a_recipe_stack_whether_warped_or_not():
    transform = MultiView([dict(size=16, warp=dict(rotation=(10, 10), prob=0.5)), dict(size=16)])
    samples = [transform(dict(image=noise(), rng=np.random.default_rng(i))) for i in range(8)]
    views = Views.collate(samples).to('cpu')
    assert views.warp(0).shape == (8, 3, 3) and views.warp(1) is None
    plain = (views.warp(0) == torch.eye(3)).all((1, 2))
    assert plain.any() and not plain.all()


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (dict(warp=dict(scale=(0, 1))), 'warp.scale must be'),
        (dict(warp=dict(rotation=(5, 1))), 'warp.rotation must be'),
        (dict(warp=dict(shear=(0, 90))), 'warp.shear must be'),
        (dict(warp=dict(perspective=1)), 'warp.perspective must be'),
        (dict(warp=dict(turn=3)), 'warp.turn: Warp does not take this'),
        (dict(flip_vertical=2), 'flip_vertical must be'),
        (dict(flip=None, crop_of=0, warp=dict()), 'flip must be'),
    ],
)
def test_settings_are_checked_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        ViewRecipe(**wrong)
