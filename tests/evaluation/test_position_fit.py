"""How well position is read off features, on features of which it is known."""

import pytest
import torch

from densecl.evaluation.positions import position_fit
from densecl.models.necks.positions import without_directions


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
