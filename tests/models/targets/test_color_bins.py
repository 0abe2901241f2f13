"""Colours as bins: which there are, shares, weights, images without colour, and colours to look at."""

import numpy as np
import pytest
import torch

from densecl.colors import rgb_to_lab
from densecl.models.targets import ColorBins
from densecl.models.targets.color_bins import annealed_mean, gamut_bins, rebalanced, soft_bins
from tests.oracles.colors import class_weights, lab_of, mean_color, shares_of

#: Bins of each a in the official file of Zhang et al., from -90 to 100.
ROWS = [5, 8, 10, 12, 14, 15, 16, 16, 17, 18, 18, 18, 19, 20, 19, 20, 20, 19, 19, 10]


def test_the_bins_are_the_official_ones():
    bins = gamut_bins()
    rows = [bins[bins[:, 0] == a, 1].tolist() for a in range(-90, 101, 10)]
    assert bins.shape == (313, 2) and [len(row) for row in rows] == ROWS
    assert all(row == list(range(int(row[0]), int(row[-1]) + 1, 10)) for row in rows)
    firsts = [
        50,
        20,
        0,
        -20,
        -30,
        -40,
        -50,
        -50,
        -60,
        -70,
        -80,
        -80,
        -90,
        -100,
        -100,
        -110,
        -110,
        -110,
        -110,
        -90,
    ]
    assert [row[0] for row in rows] == firsts


def test_every_colour_has_a_bin():
    values = torch.linspace(0, 1, 33)
    rgb = torch.cartesian_prod(values, values, values).T[..., None]
    ab = rgb_to_lab(rgb)[1:, :, 0].T
    assert torch.cdist(ab, gamut_bins()).amin(1).max() < 5 * 2**0.5 + 1e-3  # half the diagonal of a square


@pytest.fixture
def images():
    return torch.randint(0, 256, (2, 3, 8, 12), generator=torch.Generator().manual_seed(0)).double()


def made(images, **kwargs):
    """A target in float64 that gets images with a mean and a deviation, and these images."""
    target = ColorBins(**kwargs)
    mean, std = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
    target.images_have(mean, std)
    mean, std = (torch.tensor(x).view(3, 1, 1).double() for x in (mean, std))
    target = target.double()
    target.prior.fill_(1 / 313)  # to float64's last digit
    return target, (images - mean) / std


def test_shares_pixel_by_pixel(images):
    target, normalised = made(images, patch=4, neighbours=7, sigma=4.0)
    (level,) = target(normalised)
    assert level.shape == (2, 313, 2, 3)
    bins = gamut_bins().tolist()
    for b, i, j in np.ndindex(2, 2, 3):
        _, *ab = lab_of((images[b, :, 4 * i + 2, 4 * j + 2] / 255).tolist())
        want, _ = shares_of(*ab, bins, 7, 4.0)
        assert level[b, :, i, j].tolist() == pytest.approx(want, abs=1e-9)


def test_rare_colours_weigh_more(images):
    """The shares of a cell add up to the weight of its nearest bin."""
    target, normalised = made(images, patch=4)
    prior = torch.rand(313, generator=torch.Generator().manual_seed(1), dtype=torch.float64) ** 4
    target.prior.copy_(prior / prior.sum())
    found, weights = target(normalised)[0].sum(1), class_weights(target.prior.tolist(), 0.5)
    nearest = target.shares(normalised)[1]
    assert found.flatten().tolist() == pytest.approx([weights[k] for k in nearest.flatten()], rel=1e-9)
    torch.testing.assert_close((target.prior * rebalanced(target.prior)).sum(), torch.ones(()).double())
    assert max(weights) > 1.5 and min(weights) < 0.9
    assert class_weights([1 / 313] * 313, 0.5) == pytest.approx([1.0] * 313)


def test_images_without_colour_have_no_shares(images):
    images[0] = images[0, :1]
    images[0, 0] += 4  # hardly red: below 5 units of a
    target, normalised = made(images.clamp(0, 255), patch=4)
    (level,) = target(normalised)
    assert level[0].abs().max() == 0 and (level[1].sum(0) - 1).abs().max() < 1e-9


def test_the_mean_of_colours(images):
    logits = 3 * torch.randn(2, 313, 2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found, bins = annealed_mean(logits, gamut_bins(), 0.38), gamut_bins().tolist()
    for b, i, j in np.ndindex(2, 2, 3):
        assert found[b, :, i, j].tolist() == pytest.approx(
            mean_color(logits[b, :, i, j].tolist(), bins, 0.38)
        )


def test_images_to_look_at_have_the_true_lightness():
    """A photo of one colour comes back from its own shares; any prediction keeps the lightness."""
    color = torch.tensor([180.0, 90.0, 60.0]).double().view(1, 3, 1, 1).expand(1, 3, 8, 8)
    target, normalised = made(color, patch=4)
    logits = (target(normalised)[0] + 1e-30).log() * 0.38
    back = target.pixels(target.images(logits, normalised))
    assert (back - color).abs().max() < 6  # the bins are 10 apart
    other = target.pixels(target.images(torch.zeros(1, 313, 2, 2).double(), normalised)) / 255
    torch.testing.assert_close(rgb_to_lab(other)[:, :1], rgb_to_lab(color / 255)[:, :1], rtol=0, atol=1e-5)


def test_soft_bins_are_computed_in_full_precision():
    ab = torch.randn(1, 2, 4, 4).half() * 40
    shares, _ = soft_bins(ab, gamut_bins())
    torch.testing.assert_close(shares.sum(1), torch.ones(1, 4, 4), rtol=0, atol=1e-5)
    assert shares.dtype == torch.float32 and ((shares > 0).sum(1) == 10).all()


def test_what_it_refuses(images, tmp_path):
    with pytest.raises(ValueError, match='cells of 5 px do not fill images of 8 x 12 px'):
        ColorBins(patch=5)(images)
    for uniform in (2, 0):  # 0: bins that no image has would weigh infinitely much
        with pytest.raises(ValueError, match=rf'uniform must be a share in \(0, 1\], got {uniform}'):
            ColorBins(uniform=uniform)
    with pytest.raises(
        FileNotFoundError, match='none.pth does not exist; make it: python tools/make_color_prior'
    ):
        ColorBins(file=str(tmp_path / 'none.pth')).init_weights()
    with pytest.raises(ValueError, match='ColorBins reads 3 channels, data_preprocessor.mean has 4'):
        ColorBins().images_have([0.0] * 4, [1.0] * 4)


def test_the_file_has_the_prior(tmp_path):
    target = ColorBins(file=str(tmp_path / 'colors.pth'))
    state = {'prior': torch.rand(313)}
    torch.save(dict(state_dict=state), target.file)
    target.init_weights()
    assert torch.equal(target.prior, state['prior'])
