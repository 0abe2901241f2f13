"""benchmarks/box_head.py: what it asks of a box head, and how it answers."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

TOOL = runpy.run_path(str(Path(__file__).parents[2] / 'benchmarks/box_head.py'))


def test_offsets_lead_from_the_jittered_box_to_the_object():
    rng = np.random.default_rng(0)
    boxes = np.array([[10.0, 20, 50, 40], [0, 0, 8, 30]])
    near, offsets = TOOL['jittered'](boxes, rng)
    sides, centres = near[:, 2:] - near[:, :2], (near[:, 2:] + near[:, :2]) / 2
    middle, half = centres + offsets[:, :2] * sides, sides * np.exp(offsets[:, 2:]) / 2
    np.testing.assert_allclose(np.concatenate([middle - half, middle + half], 1), boxes)
    assert (np.abs(near - boxes).max(1) > 0.5).all()


def test_background_overlaps_no_object():
    boxes = np.array([[0.0, 0, 64, 64]])
    found = TOOL['background'](boxes, (96, 128), 200, np.random.default_rng(0))
    assert 20 < len(found) < 200 and (found >= 0).all() and (found[:, 2:] <= (128, 96)).all()
    common = np.clip(np.minimum(found[:, 2:], 64) - found[:, :2], 0, None).prod(1)
    sides = (found[:, 2] - found[:, 0]) ** 2
    assert (common / (sides + 64**2 - common) < 0.3).all() and common.max() > 0


def test_what_is_there_is_told_and_what_is_not_is_not():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(600, 8, generator=draw)
    ids = x[:, :3].argmax(1)
    offsets = x[:, 1:5] * 2 + 1
    half = [(y[:300], y[300:]) for y in (x, ids, offsets)]
    train, test = zip(*half, strict=True)
    accuracy, r2 = TOOL['told'](train, test, penalty=1e-4)
    assert r2 == pytest.approx(1, abs=1e-3) and accuracy > 70
    noise = tuple(torch.randn(300, 8, generator=draw) for _ in range(2))
    accuracy, r2 = TOOL['told']((noise[0], *train[1:]), (noise[1], *test[1:]))
    assert r2 < 0.05 and accuracy < 45


def test_ridge_is_the_minimum():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(50, 4, generator=draw).double(), torch.randn(50, 2, generator=draw).double()
    weights = TOOL['ridge'](x, y, 0.3).requires_grad_()
    loss = (x @ weights[:-1] + weights[-1] - y).square().sum(1).mean() + 0.3 * weights[:-1].square().sum()
    (gradient,) = torch.autograd.grad(loss, weights)
    assert gradient.abs().max() < 1e-12
