"""Every pretraining config of the tree builds and takes a step on real photos."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from densecl.registry import MODELS
from densecl.sample import sample_root

CONFIGS = Path(__file__).parents[2] / 'configs'


def pretraining(path: Path) -> bool:
    return '_base_' not in path.parts and 'PretrainLoop' in Config.fromfile(path).train_cfg.type


PATHS = sorted(p for p in CONFIGS.rglob('*.py') if '_base_' not in p.parts)
PATHS = [p for p in PATHS if p.parent.name not in ('detection', 'segmentation') and pretraining(p)]


def test_all_methods_are_here():
    assert {p.parent.name for p in PATHS} >= {'mocov1', 'mocov2', 'densecl', 'quickstart'}


@pytest.mark.parametrize('path', PATHS, ids=lambda p: p.stem)
def test_config_takes_a_step(path):
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    for head in cfg.model.heads.values():
        head.objective.queue = 16
    cfg.train_dataloader.update(
        batch_size=8, num_workers=0, persistent_workers=False, pin_memory=False
    )
    cfg.train_dataloader.dataset.data_root = str(sample_root() / 'photos')
    for transform in cfg.train_dataloader.dataset.pipeline:
        for view in transform.views:
            view.size = 64
    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))
    model = MODELS.build(cfg.model)
    model.init_weights()
    before = [p.clone() for p in model.backbone.parameters()]
    wrapper = Runner.build_optim_wrapper(_Shell(model), cfg.optim_wrapper)
    logged = model.train().train_step(batch, wrapper)
    model.after_optimizer_step()
    assert torch.isfinite(logged['loss'])
    assert set(cfg.model.heads) == {k[5:] for k in logged if k.startswith('loss_')}
    moved = [not torch.equal(a, b) for a, b in zip(before, model.backbone.parameters(), strict=True)]
    assert all(moved)


class _Shell:
    """What ``Runner.build_optim_wrapper`` reads of a runner."""

    def __init__(self, model):
        self.model = model
