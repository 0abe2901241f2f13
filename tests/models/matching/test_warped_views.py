"""Rules by location on warped views: against places that are computed one by one."""

import math

import pytest
import torch

from densecl.models.matching import ByLocation, NearestLocation, SharedGrid, match_by_location, sample_overlap
from densecl.structures import Batch, Place, Units, cell_centers, image_to_view, view_to_image

FRAME = 200.0


def warps(count: int = 4, seed: int = 0) -> torch.Tensor:
    """Turned and slightly oblique; the first is none."""
    generator = torch.Generator().manual_seed(seed)
    found = [torch.eye(3)]
    for _ in range(count - 1):
        turn = torch.rand((), generator=generator) * 6
        c, s = float(turn.cos()), float(turn.sin())
        found.append(torch.tensor([[0.6 * c, -0.6 * s, 0.5], [0.6 * s, 0.6 * c, 0.5], [0.1, 0.05, 1.0]]))
        found[-1] = found[-1] @ torch.tensor([[1.0, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
        found[-1] = found[-1] / found[-1][2, 2]
    return torch.stack(found)


def units(grid, seed: int, warp: torch.Tensor | None) -> Units:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(4, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + 100 + torch.rand(4, 2, generator=generator) * 60], 1)
    flipped = torch.tensor([False, True, True, False])
    place = Place(boxes, flipped, torch.full((4, 2), FRAME), (64, 64), grid, warp=warp)
    return Units(torch.randn(4, grid[0] * grid[1], 3, generator=generator), place=place)


def one_point(x: float, y: float, place: Place, b: int) -> tuple[float, float]:
    """A point, in shares of a view, in the photo: numbers alone."""
    if place.flipped[b]:
        x = 1 - x
    if place.warp is not None:
        rows = place.warp[b].double().tolist()
        x, y, w = (r[0] * x + r[1] * y + r[2] for r in rows)
        x, y = x / w, y / w
    x1, y1, x2, y2 = place.crop[b].double().tolist()
    return x1 + x * (x2 - x1), y1 + y * (y2 - y1)


def centre(place: Place, b: int, cell: int) -> tuple[float, float]:
    row, column = divmod(cell, place.grid[1])
    return one_point((column + 0.5) / place.grid[1], (row + 0.5) / place.grid[0], place, b)


def diagonal(place: Place, b: int, cell: int) -> float:
    """Root mean square of both diagonals, over the side of the photo."""
    row, column = divmod(cell, place.grid[1])
    ends = [(column + i, row + j) for i, j in ((0, 0), (1, 1), (1, 0), (0, 1))]
    a, b_, c, d = (one_point(x / place.grid[1], y / place.grid[0], place, b) for x, y in ends)
    return math.sqrt((math.dist(a, b_) ** 2 + math.dist(c, d) ** 2) / 2)


@pytest.mark.parametrize('both', [True, False])
def test_by_location_is_the_pointwise_form(both):
    query, key = units((5, 4), 0, warps(seed=1)), units((4, 6), 1, warps(seed=2) if both else None)
    found = ByLocation(0.7)(query, key, Batch.numbered(torch.arange(4))).mask
    assert found.any((1, 2)).all()
    for b in range(4):
        for i in range(20):
            x, y = centre(query.place, b, i)
            for j in range(24):
                u, v = centre(key.place, b, j)
                reach = 0.7 * max(diagonal(query.place, b, i), diagonal(key.place, b, j))
                want = math.dist((x, y), (u, v)) < reach and all(0 <= z <= FRAME for z in (x, y, u, v))
                assert found[b, i, j] == want


def test_a_warp_that_changes_nothing_matches_as_without_one():
    plain = [units((7, 7), seed, None).place for seed in (0, 1)]
    args = [(p.shares(), p.flipped, p.grid) for p in plain]
    none = torch.eye(3).expand(4, 3, 3)
    assert torch.equal(
        match_by_location(*args[0], *args[1], 0.7), match_by_location(*args[0], *args[1], 0.7, none, None)
    )


def test_a_turned_view_of_itself_matches_cell_by_cell():
    """A quarter turn, and upside down: exactly the turned grid answers."""
    for turned, want in (
        ([[0.0, 1, 0], [-1, 0, 1], [0, 0, 1]], torch.arange(16).view(4, 4).rot90(-1).flatten()),
        ([[1.0, 0, 0], [0, -1, 1], [0, 0, 1]], torch.arange(16).view(4, 4).flip(0).flatten()),
    ):
        boxes, flipped = torch.tensor([[20.0, 20, 100, 100]]), torch.tensor([False])
        frame = torch.full((1, 2), FRAME)
        key = Units(torch.randn(1, 16, 3), place=Place(boxes, flipped, frame, (64, 64), (4, 4)))
        query = Units(
            torch.randn(1, 16, 3),
            place=Place(boxes, flipped, frame, (64, 64), (4, 4), warp=torch.tensor([turned])),
        )
        match = ByLocation(0.7)(query, key, Batch.numbered(torch.arange(1)))
        answers = match.mask[0].float()
        assert (answers.sum(1) == 1).all()
        x, y = (query.place.centers()[0] - 20).div(20).floor().unbind(1)
        assert torch.equal(answers.argmax(1), (y * 4 + x).long()) and torch.equal(answers.argmax(1), want)


def test_nearest_location_leaves_out_what_is_outside_of_the_photo():
    query, key = units((5, 5), 0, warps(seed=1)), units((5, 5), 1, warps(seed=2))
    query.place.crop[:, :2] -= 60  # beyond the left and upper edge
    match = NearestLocation(None)(query, key, Batch.numbered(torch.arange(4)))
    inside = query.place.in_photo()
    assert torch.equal(match.valid, inside) and inside.any() and not inside.all()
    rows = replace_vectors(query), replace_vectors(key)
    first, second = match.read(*rows)
    places = query.place.centers(), key.place.centers()
    distance = torch.cdist(*places).masked_fill(~key.place.in_photo()[:, None], torch.inf)
    assert torch.equal(second.vectors[..., 0][inside], distance.argmin(2)[inside].float())
    assert torch.equal(first.vectors[0, :, 0], torch.arange(25.0))


def replace_vectors(found: Units) -> Units:
    count = found.vectors.shape[1]
    return Units(torch.arange(float(count)).view(1, -1, 1).expand(4, -1, -1), place=found.place)


def test_shared_grid_reads_the_same_places_of_both_views():
    """Each cell holds where its centre lies; affine warps keep it linear, and the reading exact."""
    affine = [w.clone() for w in (warps(seed=1), warps(seed=2))]
    for warp in affine:
        warp[:, 2] = torch.tensor([0.0, 0, 1])
    sets = [units((16, 16), i, warp) for i, warp in enumerate(affine)]
    for one in sets:
        one.vectors = one.place.centers()
    match = SharedGrid(6)(*sets, Batch.numbered(torch.arange(4)))
    read = match.read(*sets)
    shared = torch.cat(
        [
            torch.maximum(*(s.place.crop[:, :2] for s in sets)),
            torch.minimum(*(s.place.crop[:, 2:] for s in sets)),
        ],
        1,
    )
    want = cell_centers(shared, torch.zeros(4, dtype=torch.bool), (6, 6))
    assert match.valid.any(1).all() and not match.valid.all()
    for one, found in zip(sets, read, strict=True):
        there = image_to_view(want, one.place.crop, one.place.flipped, (16, 16), one.place.warp)
        assert (((there >= 0) & (there <= 16)).all(-1) | ~match.valid).all()
        between = ((there >= 0.5) & (there <= 15.5)).all(-1) & match.valid  # others are continued unchanged
        torch.testing.assert_close(found.vectors[between], want[between], atol=1e-3, rtol=0)
        assert between.sum() > 20


def test_gradients_flow_through_a_warped_reading():
    one, other = units((4, 4), 0, warps()), units((4, 4), 1, None)
    maps = torch.randn(4, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    place = one.place

    def read(x):
        boxes = place.crop.double(), place.flipped, other.place.crop.double()
        return sample_overlap(x, *boxes, (3, 3), place.warp.double())

    assert torch.autograd.gradcheck(read, (maps,))


def test_points_behind_the_horizon_are_not_in_the_view():
    warp = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [1.5, 0, 1]]])
    boxes, flipped = torch.tensor([[0.0, 0, 100, 100]]), torch.tensor([False])
    points = torch.tensor([[[10.0, 10], [500, 500], [-5000, 20]]])
    place = Place(boxes, flipped, torch.full((1, 2), 100.0), (10, 10), (2, 2), warp=warp)
    assert place.shows(points).tolist() == [[True, False, False]]
    there = image_to_view(points[:, :1], boxes, flipped, (10, 10), warp)
    torch.testing.assert_close(view_to_image(there, boxes, flipped, (10, 10), warp), points[:, :1])
