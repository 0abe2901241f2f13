"""The view presets of the configs: the numbers of the official codes, and views that come out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from densecl.datasets import SampleKey, collate_views
from densecl.registry import DATASETS, MODELS, TRANSFORMS
from densecl.sample import sample_root
from densecl.visualization import draw_views

BASES = Path(__file__).parents[2] / 'configs/_base_'
SIMCLR, BYOL, MOCO = (0.8, 0.8, 0.8, 0.2), (0.4, 0.4, 0.2, 0.1), (0.4, 0.4, 0.4, 0.1)
# size, scale, interpolation, jitter and its probability, grey, blur, solarise; one line a view
BY, MC = (BYOL, 0.8, 0.2), (SIMCLR, 0.8, 0.2)
EXPECTED = {
    'simclr': [(224, 0.08, 1, 'bicubic', *MC, 0.5, 0)] * 2,
    'byol': [(224, 0.08, 1, 'bicubic', *BY, 1, 0), (224, 0.08, 1, 'bicubic', *BY, 0.1, 0.2)],
    'mocov3': [(224, 0.2, 1, 'bilinear', *BY, 1, 0), (224, 0.2, 1, 'bilinear', *BY, 0.1, 0.2)],
    'swav': [(224, 0.14, 1, 'bilinear', *MC, 0.5, 0)] * 2
    + [(96, 0.05, 0.14, 'bilinear', *MC, 0.5, 0)] * 6,
    'dino': [
        (224, 0.4, 1, 'bicubic', *BY, 1, 0),
        (224, 0.4, 1, 'bicubic', *BY, 0.1, 0.2),
        *[(96, 0.05, 0.4, 'bicubic', *BY, 0.5, 0)] * 8,
    ],
    'npid': [(224, 0.2, 1, 'bilinear', (0.4, 0.4, 0.4, 0.4), 1, 0.2, 0, 0)],
    'supcon': [(224, 0.2, 1, 'bilinear', MOCO, 0.8, 0.2, 0, 0)] * 2,
    'mocov2': [(224, 0.2, 1, 'bilinear', MOCO, 0.8, 0.2, 0.5, 0)] * 2,
}


def load(name: str) -> Config:
    return Config.fromfile(BASES / f'views/{name}.py')


def multi_view(name: str):
    return TRANSFORMS.build(dict(type='MultiView', views=load(name).views))


def described(recipe) -> tuple:
    p = recipe.photometric
    strength = (p.brightness, p.contrast, p.saturation, p.hue)
    probabilities = (p.jitter_prob, p.gray_prob, p.blur_prob, p.solarize_prob)
    assert recipe.size[0] == recipe.size[1] and recipe.flip == 0.5 and recipe.ratio == (3 / 4, 4 / 3)
    assert p.blur_sigma == (0.1, 2.0) and p.solarize_threshold in (127.5, 128)
    return (
        recipe.size[0], *recipe.scale, recipe.interpolation,
        strength, *probabilities,
    )  # fmt: skip


@pytest.mark.parametrize('name', EXPECTED)
def test_numbers(name):
    recipes = multi_view(name).recipes
    assert [described(r) for r in recipes for _ in range(r.count)] == EXPECTED[name]


def test_pirl():
    image, puzzle = multi_view('pirl').recipes
    jitter = ((0.4, 0.4, 0.4, 0.2), 1, 0.2, 0, 0)
    assert described(image) == (224, 0.08, 1, 'bilinear', *jitter)
    assert (puzzle.grid, puzzle.cell, puzzle.patch, puzzle.crop.size) == (3, 85, 64, (255, 255))
    assert puzzle.photometric_per_patch and puzzle.flip_per_patch and puzzle.flip == 0.5
    puzzle.crop.flip = 0.5
    assert described(puzzle.crop) == (255, 0.6, 1, 'bilinear', *jitter)


def test_variants():
    scales = {
        ('mocov3', 'vit_views'): [(0.08, 1), (0.08, 1)],
        ('dino', 'resnet_views'): [(0.14, 1), (0.14, 1), (0.05, 0.14)],
        ('swav', 'two_views'): [(0.08, 1)],
    }
    for (name, key), expected in scales.items():
        cfg = load(name)
        variant = TRANSFORMS.build(dict(type='MultiView', views=cfg[key])).recipes
        assert [r.scale for r in variant] == expected
        for one, other in zip(variant, multi_view(name).recipes, strict=False):
            assert one.photometric == other.photometric and one.size == other.size


def test_preprocessors_of_simclr_and_swav():
    planes = torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)
    white = {}
    for name in ('simclr', 'swav'):
        processor = MODELS.build(load(name).preprocessor)
        white[name] = processor._prepare(planes, None)[0, :, 0, 0].double()
    torch.testing.assert_close(white['simclr'], torch.ones(3).double())
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.228, 0.224, 0.225])
    torch.testing.assert_close(white['swav'], ((1 - mean) / std).double())


@pytest.mark.parametrize('name', [*EXPECTED, 'pirl'])
def test_views_of_real_photos(name):
    """Through dataset, collation and preprocessor: as many views as the recipe says, all finite."""
    cfg = Config.fromfile(BASES / 'datasets/imagenet.py').train_dataloader.dataset
    cfg.update(data_root=str(sample_root() / 'photos'))
    cfg.pipeline = [dict(type='MultiView', views=load(name).views)]
    if name == 'supcon':
        cfg.source = dict(type='ImageNet')
    with DefaultScope.overwrite_default_scope('densecl'):
        dataset = DATASETS.build(cfg)
        processor = MODELS.build(dict(type='PretrainDataPreprocessor'))
    batch = collate_views([dataset[SampleKey(0, i)] for i in (0, 300)])
    views = processor(batch, True)['inputs']
    sizes = [224] + [64] * 9 if name == 'pirl' else [row[0] for row in EXPECTED[name]]
    assert [tuple(v.shape) for v in views.images] == [(2, 3, s, s) for s in sizes]
    assert all(v.isfinite().all() and v.std() > 0.01 for v in views.images)
    if name == 'supcon':
        assert views.labels.tolist() == [0, 1] and views.labels.dtype == torch.int64
    else:
        assert views.labels is None


@pytest.mark.parametrize('name', ['swav', 'pirl'])
def test_views_of_different_sizes_are_drawn(name):
    """The contact sheet: the image and every view, small ones enlarged."""
    sample = multi_view(name)(dict(image=np.full((120, 160, 3), 90, np.uint8), rng=_rng()))
    pictures = [view.numpy() for view in sample.images]
    sheet = draw_views(
        np.full((120, 160, 3), 90, np.uint8), sample.boxes, sample.flipped, pictures, height=120
    )
    rows = -(-(1 + len(pictures)) // 9)  # the image and its views
    width = 160 + min(len(pictures), 8) * (120 + 6)
    assert sheet.shape == (rows * (120 + 20) + (rows - 1) * 6, width, 3)


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize('name', ['byol', 'dino'])
def test_probabilities_of_drawn_parameters(name):
    rng = _rng()
    for recipe in multi_view(name).recipes[:2]:
        p, count = recipe.photometric, 4000
        drawn = [p.draw(rng) for _ in range(count)]
        rates = {
            'jitter_prob': [bool(d.jitter) for d in drawn],
            'gray_prob': [bool(d.gray) for d in drawn],
            'blur_prob': [float(d.sigma) > 0 for d in drawn],
            'solarize_prob': [float(d.solarize) < 256 for d in drawn],
        }
        for key, hits in rates.items():
            expected = getattr(p, key)
            spread = 4 * (expected * (1 - expected) / count) ** 0.5
            assert abs(np.mean(hits) - expected) <= spread
