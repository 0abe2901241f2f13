"""How much of the cells' variance their place explains."""

import pytest
import torch

from densecl.evaluation.positions import place_share


def maps(place: float, image: float, count: int, seed: int = 0):
    """Cells with a part that their place says, and a part of their own, of these standard deviations."""
    generator = torch.Generator().manual_seed(seed)
    code = torch.randn(1, 8, 16, 16, generator=generator, dtype=torch.float64)
    own = torch.randn(count, 8, 16, 16, generator=generator, dtype=torch.float64)
    return place * code + image * own + 3


def test_the_share_is_that_of_the_variances():
    assert place_share(maps(2.0, 1.0, 200)).item() == pytest.approx(0.8, abs=0.02)
    assert place_share(maps(1.0, 0.0, 3)).item() == pytest.approx(1)


def test_few_images_have_no_bias():
    found = torch.stack([place_share(maps(0.0, 1.0, 3, seed)) for seed in range(40)])
    assert found.mean().abs().item() < 0.01
    found = torch.stack([place_share(maps(1.0, 1.0, 3, seed)) for seed in range(40)])
    assert found.mean().item() == pytest.approx(0.5, abs=0.02)


def test_loops():
    cells = maps(1.0, 1.0, 4)[:, :2, :2, :3]
    total, within = 0.0, 0.0
    for channel in cells.unbind(1):
        columns = channel.flatten(1).T.tolist()
        means = [sum(column) / 4 for column in columns]
        inside = sum((x - m) ** 2 for column, m in zip(columns, means, strict=True) for x in column) / (3 * 6)
        middle = sum(means) / 6
        total += sum((m - middle) ** 2 for m in means) / 6 - inside / 4 + inside
        within += inside
    assert place_share(cells).item() == pytest.approx(1 - within / total, rel=1e-12)


def test_equal_cells_have_no_share():
    assert place_share(torch.ones(2, 3, 4, 5)).isnan()


def test_half_precision_counts_as_float32():
    found = maps(1.0, 1.0, 5).half()
    torch.testing.assert_close(place_share(found), place_share(found.float()))
