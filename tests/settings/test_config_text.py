"""Configs are written as text that mmengine reads back to the same values."""

import pytest
from mmengine.config import Config

from densecl.settings.config_text import Source, config_text
from densecl.settings.recipes import recipe_names, small_recipe

BASE = 'densecl::densecl/densecl_resnet18_1xb64-coslr-6e_photos.py'


def test_values_are_read_back(tmp_path):
    values = dict(
        epochs=3,
        scale=(0.4, 1.0),
        train_cfg=dict(max_epochs=Source('epochs')),
        views=Source("[{**v, 'size': 48} for v in _base_.views]"),
        names=['a' * 70, "it's", None],
        nested=dict(one=dict(two=dict(three='x' * 50, four='y' * 50))),
    )
    path = tmp_path / 'config.py'
    path.write_text(config_text('my/photos', str(path), [BASE], values))
    read = Config.fromfile(path)
    assert read.train_cfg.max_epochs == 3
    assert read.views[0].size == 48 and read.views[0].count == 2
    assert read.names == values['names'] and read.nested == values['nested'] and read.scale == (0.4, 1.0)
    assert read.train_dataloader.collate_fn == dict(type='densecl.collate_views')
    assert max(map(len, path.read_text().splitlines())) <= 110


def test_recipes_are_found_by_method():
    names = recipe_names()
    assert {'densecl', 'pixpro', 'mocov2', 'dino', 'vicregl'} <= set(names)
    assert not {'soco', 'detcon-b', 'supcon', 'clop', 'sincere'} & set(names)
    assert small_recipe('densecl') == BASE


@pytest.mark.parametrize(
    ('method', 'message'),
    [
        ('nonsense', 'no such method; one of anchor, barlow_twins, byol'),
        ('dencecl', 'no such method; did you mean densecl[?] there are anchor, barlow_twins'),
        ('detcon-b', 'needs candidate objects'),
        ('supcon', 'needs labels'),
    ],
)
def test_methods_that_do_not_serve_say_why(method, message):
    with pytest.raises(ValueError, match=message):
        small_recipe(method)


def test_values_without_a_literal_are_read_back(tmp_path):
    values = dict(options={'a.b': float('inf'), 'lambda': [float('-inf')]}, folder=tmp_path)
    (tmp_path / 'config.py').write_text(config_text('photos', 'config.py', [], values))
    cfg = Config.fromfile(tmp_path / 'config.py')
    assert cfg.options == {'a.b': float('inf'), 'lambda': [float('-inf')]} and cfg.folder == str(tmp_path)
