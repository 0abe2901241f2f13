"""The bar shows figures of the log on a terminal, and is not there elsewhere."""

import io
import logging
from collections import defaultdict
from types import SimpleNamespace

from mmengine.logging import HistoryBuffer
from rich.console import Console

from densecl.engine.hooks import ProgressHook, progress


def fake_runner() -> SimpleNamespace:
    """What the hook reads of a runner."""
    logger = logging.Logger('run')
    logger.addHandler(logging.StreamHandler(io.StringIO()))
    scalars = defaultdict(HistoryBuffer)
    loader = SimpleNamespace(batch_size=64)
    hub = SimpleNamespace(log_scalars=scalars)
    return SimpleNamespace(max_iters=10, iter=0, logger=logger, message_hub=hub, train_dataloader=loader)


def steps(hook: ProgressHook, runner) -> None:
    hook.before_train(runner)
    for runner.iter in range(10):
        for name, value in (('time', 2.0), ('data_time', 0.5), ('loss', 6.5)):
            runner.message_hub.log_scalars[f'train/{name}'].update(value)
        hook.after_train_iter(runner, runner.iter)


def test_a_terminal_has_a_bar_with_the_figures():
    out = io.StringIO()
    hook, runner = ProgressHook(console=Console(file=out, force_terminal=True, width=120)), fake_runner()
    steps(hook, runner)
    assert hook.describe(runner) == '640 images, 32 img/s, 25% waiting, loss 6.5'
    assert runner.logger.handlers[0].level == logging.WARNING
    runner.message_hub.log_scalars['guard/correspondence'].update(0.5)
    runner.message_hub.log_scalars['guard/correspondence'].update(0.25)
    assert hook.describe(runner).endswith('loss 6.5, correspondence 0.25')
    runner.message_hub.log_scalars['guard/linear_miou'].update(41.5)
    assert hook.describe(runner).endswith('loss 6.5, linear_miou 41.5')
    hook.after_train(runner)
    assert '32 img/s, 25% waiting, loss 6.5' in out.getvalue() and '100%' in out.getvalue()
    assert runner.logger.handlers[0].level == logging.NOTSET


def test_images_are_those_of_all_processes(monkeypatch):
    monkeypatch.setattr(progress, 'world_size', lambda: 4)
    hook, runner = ProgressHook(console=Console(file=io.StringIO())), fake_runner()
    steps(hook, runner)
    assert hook.describe(runner).startswith('2,560 images, 128 img/s, 25% waiting')


def test_elsewhere_the_lines_of_the_log_stay():
    out = io.StringIO()
    hook, runner = ProgressHook(console=Console(file=out)), fake_runner()
    steps(hook, runner)
    hook.after_train(runner)
    assert out.getvalue() == '' and runner.logger.handlers[0].level == logging.NOTSET
