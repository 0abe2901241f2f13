"""Hooks in real runs."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import BaseModel

from densecl.compat import load_checkpoint
from densecl.engine import launch
from densecl.engine.hooks import CollapseHook, DeferredRuntimeInfoHook
from densecl.evaluation.collapse import embedding_statistics
from densecl.registry import MODELS


def test_target_moves_once_per_optimiser_step_under_accumulation(tiny_config):
    cfg = tiny_config(**{'optim_wrapper.accumulative_counts': 2, 'model.momentum': 0.9})
    runner = launch.build_runner(cfg)
    queue, keys = runner.model.heads['image'].objective.queue, []
    runner.model.register_forward_hook(lambda *_: keys.append(int(queue.enqueued)))
    runner.train()
    # 10 iterations, 2 for each step; of 2 images each
    assert runner.model.steps == 5
    assert keys == [0, 4, 4, 8, 8, 12, 12, 16, 16, 20]
    assert runner.model.clock.total == 5


def test_loading_weights_reaches_the_target_before_the_first_step(tiny_config, tmp_path):
    runner = launch.build_runner(tiny_config())
    weights = runner.model.backbone.state_dict()
    weights = {f'backbone.{k}': torch.full_like(v, 0.5) for k, v in weights.items() if v.ndim}
    torch.save(dict(state_dict=weights), tmp_path / 'half.pth')
    cfg = tiny_config(**{'load_from': str(tmp_path / 'half.pth'), 'optim_wrapper.optimizer.lr': 0})
    cfg.optim_wrapper.optimizer.weight_decay = 0
    runner = launch.build_runner(cfg)
    runner.train()
    assert next(runner.model.target.backbone.parameters()).unique().tolist() == [0.5]


def test_a_new_run_from_a_checkpoint_starts_its_schedules_anew(tiny_config, tmp_path):
    first = launch.build_runner(tiny_config())
    first.train()
    assert first.model.steps == 10
    last = str(tmp_path / 'run' / 'iter_10.pth')
    cfg = tiny_config(load_from=last)
    cfg.model.momentum = dict(start=0.9, end=1.0)
    second = launch.build_runner(cfg)
    seen = []
    second.model.register_forward_pre_hook(lambda *_: seen.append(second.model.momentum))
    second.train()
    assert seen[0] == 0.9 and seen[-1] > 0.99
    assert second.model.steps == 10


def test_deferred_values_are_all_logged(tiny_config, tmp_path):
    cfg = tiny_config()
    cfg.default_hooks.runtime_info.interval = 4
    launch.build_runner(cfg).train()
    logs = load_checkpoint(tmp_path / 'run/iter_7.pth')['message_hub']['log_scalars']
    assert len(logs['train/loss']._log_history) == 7
    assert len(logs['train/dense_pos_sim']._log_history) == 7


def test_collapse_is_reported(tiny_config):
    cfg = tiny_config()
    cfg.default_hooks.collapse.update(interval=1, patience=2, action='stop')
    runner = launch.build_runner(cfg)
    projector = runner.model.heads['dense'].projector
    runner.call_hook('before_run')
    with torch.no_grad():
        projector[-1].weight.zero_()
        projector[-1].bias.fill_(1.0)
    projector[-1].requires_grad_(False)
    runner.model.init_weights = lambda: None  # keep what was just set
    with pytest.raises(RuntimeError, match='head dense is collapsing'):
        runner.train()


def test_healthy_embeddings_are_not_reported(tiny_config):
    cfg = tiny_config()
    cfg.default_hooks.collapse.update(interval=5, patience=1, action='stop')
    runner = launch.build_runner(cfg)
    runner.train()
    assert runner.iter == 10


@pytest.mark.parametrize(('interval', 'measured'), [(3, [3, 8]), (7, [10])])
def test_epochs_shorter_than_the_interval_are_watched_too(tiny_config, monkeypatch, interval, measured):
    """Two epochs of five steps."""
    cfg = tiny_config()
    cfg.default_hooks.collapse.update(interval=interval)
    steps = []
    monkeypatch.setattr(
        CollapseHook, '_measure', lambda _, runner, name, *__: steps.append((name, runner.iter + 1))
    )
    launch.build_runner(cfg).train()
    assert [step for name, step in steps if name == 'dense'] == measured


def test_only_rows_that_count_are_measured():
    rows = torch.randn(40, 8)
    counted = torch.arange(40) % 4 == 0
    rows[~counted] = float('nan')
    none = torch.zeros(40, dtype=torch.bool)
    watched = dict(slots=(rows, counted), windows=(rows, none))
    runner = SimpleNamespace(
        model=SimpleNamespace(heads={}, watched=watched, queues=dict, may_collapse=lambda: watched),
        hooks=[],
        train_dataloader=range(4),
        message_hub=MessageHub('counted'),
    )
    hook = CollapseHook(interval=2, floor=0, patience=1, action='stop')
    for batch_idx in range(2):
        hook.after_train_iter(runner, batch_idx)
    want = embedding_statistics(torch.cat([rows[::4]] * 2))
    found = {name: buffer.current() for name, buffer in runner.message_hub.log_scalars.items()}
    assert found == {f'train/slots_{key}': value for key, value in want.items()}


def test_collapse_hook_refuses_an_unknown_action():
    with pytest.raises(ValueError, match='action'):
        CollapseHook(action='ignore')


def test_nan_embeddings_are_named_as_such(tiny_config):
    cfg = tiny_config()
    cfg.default_hooks.collapse.update(interval=1, patience=1, floor=0, action='stop')
    cfg.optim_wrapper.optimizer.lr = 1e30
    with pytest.raises(RuntimeError, match='NaN or infinite'):
        launch.build_runner(cfg).train()


class Plain(BaseModel):
    """A method that is no pretrainer: the mean of a layer's output."""

    def __init__(self) -> None:
        super().__init__(data_preprocessor=dict(type='PretrainDataPreprocessor'))
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.layer(inputs.images[0].mean((2, 3))).square().mean())


def test_a_model_without_heads_trains_in_the_same_runtime(tiny_config, tmp_path):
    MODELS.register_module(module=Plain, force=True)
    cfg = tiny_config(**{'train_cfg.max_epochs': 1, 'default_hooks.logger.interval': 1})
    cfg.model = dict(type='Plain')
    runner = launch.build_runner(cfg)
    runner.train()
    assert runner.iter == 5 and (tmp_path / 'run/iter_5.pth').is_file()
    losses = runner.message_hub.get_scalar('train/loss')._log_history
    assert len(losses) == 5 and all(value > 0 for value in losses)


@pytest.mark.parametrize(('log', 'want'), [(1, 1), (5, 5), (20, 10), (4, 4), (33, 3), (64, 8)])
def test_lines_of_the_log_show_no_old_values(toy_runner, log, want):
    hooks = dict(
        logger=dict(type='LoggerHook', interval=log), runtime_info=dict(type='DeferredRuntimeInfoHook')
    )
    runner = toy_runner(dict(type='SGD', lr=0.1), default_hooks=hooks)
    runner.train()
    assert next(h for h in runner.hooks if isinstance(h, DeferredRuntimeInfoHook)).interval == want
