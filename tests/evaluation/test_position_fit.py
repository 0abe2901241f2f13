"""How well position is read off features, on features of which it is known."""

import pytest
import torch

from densecl.evaluation.positions import position_fit, position_rounds, without_linear_position
from densecl.models.necks.positions import folded, without_directions


def maps(count, seed, share, height=5, width=7):
    """Noise of 20 channels, and row and column along two directions."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 20, height, width, generator=generator, dtype=torch.float64)
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing='ij')
    along = directions()
    places = rows[..., None] * along[0] + columns[..., None] * along[1]
    return noise + share * places.permute(2, 0, 1)


def directions():
    return torch.linalg.qr(torch.randn(20, 2, generator=torch.Generator().manual_seed(9)).double())[0].T


def test_known_unknown_and_removed_positions():
    known = position_fit(maps(40, 0, 100), maps(20, 1, 100))
    assert min(known) > 0.99
    unknown = position_fit(maps(40, 0, 0), maps(20, 1, 0))
    assert max(map(abs, unknown)) < 0.1
    sides = [maps(n, seed, 100).permute(0, 2, 3, 1) for n, seed in ((40, 0), (20, 1))]
    removed = [without_directions(x, [directions()]).permute(0, 3, 1, 2) for x in sides]
    assert max(map(abs, position_fit(*removed))) < 0.1


def test_it_is_ridge_regression():
    train, test = maps(6, 0, 1), maps(4, 1, 1)
    x, y = (m.permute(0, 2, 3, 1).reshape(-1, 20) for m in (train, test))
    x, y = (x - x.mean(0)) / x.std(0), (y - x.mean(0)) / x.std(0)
    rows = torch.linspace(-1, 1, 5).double()[:, None].expand(5, 7).reshape(-1)
    wide = torch.cat([x, (1e-4 * len(x)) ** 0.5 * torch.eye(20).double()])
    weights = torch.linalg.lstsq(wide, torch.cat([rows.repeat(6), torch.zeros(20).double()])).solution
    error = (y @ weights - rows.repeat(4)).square().sum() / rows.repeat(4).square().sum()
    assert position_fit(train, test)[0] == pytest.approx(1 - error.item())


def test_channels_that_never_vary_and_other_grids():
    train, test = maps(6, 0, 1), maps(4, 1, 1)
    train[:, 3], test[:, 3] = 2.0, 3.0
    assert all(abs(x) <= 1 for x in position_fit(train, test))
    with pytest.raises(ValueError, match='one grid'):
        position_fit(train, test[..., :3])


def with_position(count=60, channels=12, grid=(5, 6), seed=0):
    """Maps of correlated channels, three of which know the row, and one the column."""
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(count, channels, *grid, generator=generator, dtype=torch.float64)
    rows = torch.linspace(-1, 1, grid[0], dtype=torch.float64)[:, None]
    maps[:, :3] += rows * torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)[:, None, None]
    maps[:, 3] += torch.linspace(-1, 1, grid[1], dtype=torch.float64)
    mix = torch.randn(channels, channels, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return torch.einsum('oc,nchw->nohw', mix, maps) + 3


def through(matrix, maps):
    return torch.einsum('oc,nchw->nohw', matrix, maps)


def test_each_round_is_the_least_squares_plane_of_what_is_left():
    maps = with_position()
    rounds = position_rounds(maps, 3, ridge=0)
    places = torch.stack(
        torch.meshgrid(torch.linspace(-1, 1, 5), torch.linspace(-1, 1, 6), indexing='ij'), -1
    )
    wanted = places.double().flatten(0, 1).repeat(len(maps), 1)
    for i, directions in enumerate(rounds):
        left = maps.permute(0, 2, 3, 1).flatten(0, 2)
        left = without_directions(left - left.mean(0), rounds[:i])
        plane = torch.linalg.lstsq(left, wanted, driver='gelsd').solution
        if i == 0:  # later ones are determined but for directions in which nothing is left
            torch.testing.assert_close(directions.mT, plane)
        torch.testing.assert_close(left @ directions.mT, left @ plane, rtol=1e-6, atol=1e-8)


def test_rounds_take_position_out_little_by_little():
    train, test = with_position(200), with_position(200, seed=1)
    known = [position_fit(train, test)[0]]
    for count in (1, 3):
        matrix = folded(position_rounds(train, count))
        known.append(position_fit(through(matrix, train), through(matrix, test))[0])
    assert known[0] > 0.6 and known[0] > known[1] + 0.05 > known[2] + 0.1


def test_no_linear_function_is_left_and_little_is_changed():
    train, test = with_position(200), with_position(200, seed=1)
    matrix = without_linear_position(train)
    assert max(position_fit(train, test)) > 0.6
    assert max(map(abs, position_fit(through(matrix, train), through(matrix, test)))) < 0.02
    torch.testing.assert_close(matrix @ matrix, matrix, rtol=0, atol=1e-9)  # once is enough
    flat = train.permute(1, 0, 2, 3).flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    change = lambda m: ((m - torch.eye(12, dtype=m.dtype)) @ flat).square().mean()  # noqa: E731
    # An orthogonal projection that removes as much: off the plane of the covariances with row and column.
    places = torch.stack(
        torch.meshgrid(torch.linspace(-1, 1, 5), torch.linspace(-1, 1, 6), indexing='ij'), -1
    )
    towards = flat @ places.double().flatten(0, 1).repeat(len(train), 1)
    basis = torch.linalg.qr(towards)[0]
    orthogonal = torch.eye(12, dtype=torch.float64) - basis @ basis.mT
    assert (orthogonal @ towards).abs().max() < 1e-6 * towards.abs().max()
    assert change(matrix) < 0.999 * change(orthogonal)


def test_channels_that_do_not_vary_stay():
    maps = with_position()
    maps = torch.cat([maps, torch.full_like(maps[:, :1], 5.0)], 1)
    matrix = without_linear_position(maps)
    assert matrix.isfinite().all() and matrix[12, 12] == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match='maps must have 2 x 2 cells or more'):
        without_linear_position(maps[..., :1])
