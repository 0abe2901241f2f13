"""Memories with one vector an image learn the size of the data set from the runner."""

import pytest
import torch
from mmengine.runner import Runner

from densecl.engine import launch
from tests.engine.test_resume_recipes import small

HEAD = dict(
    projector=dict(type='MLP', channels=(576, 16)),
    objective=dict(type='NCE', dim=16, negatives=8),
    pairs=((0, 0),),
)


@pytest.fixture
def npid_config(tiny_config):
    def make(**options):
        cfg = tiny_config(
            **{
                'train_cfg.max_epochs': 1,
                'custom_hooks': [dict(type='DataSizeHook')],
                'default_hooks.checkpoint.interval': 2,
                **options,
            }
        )
        # as NPID: one encoder, one view, one head
        cfg.model.type = 'SharedPretrainer'
        for key in ('momentum', 'shuffle_bn', 'bn_groups'):
            cfg.model.pop(key, None)
        cfg.model.heads = dict(image=HEAD)
        return cfg

    return make


def bank_of(runner):
    return runner.model.heads.image.objective.bank


def test_the_bank_gets_the_size_and_learns_every_image(npid_config):
    runner = Runner.from_cfg(npid_config())
    assert len(bank_of(runner)) == 0
    runner.train()
    bank = bank_of(runner)
    assert bank.vectors.shape == (10, 16)
    torch.testing.assert_close(bank.vectors.norm(dim=1), torch.ones(10))  # each was seen once
    assert int(runner.model.heads.image.objective.rounds) == 5


def test_a_resumed_run_ends_alike(npid_config):
    whole = Runner.from_cfg(npid_config())
    whole.train()
    path = f'{whole.work_dir}/iter_2.pth'
    cfg = npid_config(resume=True, load_from=path)
    cfg.experiment_name = 'resumed'
    resumed = Runner.from_cfg(cfg)
    resumed.train()
    assert torch.equal(bank_of(resumed).vectors, bank_of(whole).vectors)


def test_a_bank_that_is_too_small_is_refused_before_training(npid_config):
    cfg = npid_config()
    cfg.model.heads.image.objective.images = 4
    message = r'model\.heads\.image\.objective\.bank: .* 4 images, the data set has 10: set images=10'
    with pytest.raises(ValueError, match=message):
        Runner.from_cfg(cfg).train()


def test_a_text_tower_of_another_vocabulary_is_refused_before_training(tiny_config, tmp_path):
    cfg = small('CLIP', tiny_config(), tmp_path)
    cfg.model.heads.text.target.tower.vocab_size = 100
    with pytest.raises(ValueError, match='model.heads.text.target.tower: .* vectors for 100'):
        launch.build_runner(cfg).train()
