"""The printed line: losses first, and as many diagnostics as a line holds."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub

from densecl.engine.log_processor import _line

RUNNER = SimpleNamespace(
    iter=9, max_iters=40, epoch=0, max_epochs=2, train_dataloader=range(20), message_hub=MessageHub('line')
)


def line(figures, printed):
    tag = {'lr': 0.03, 'loss': 3.0, 'loss_image': 1.0, 'loss_dense': 2.0, **figures}
    return _line(RUNNER, tag, 9, printed)


def test_losses_and_all_diagnostics():
    assert line({'image_std': 0.5, 'image_rank': 12.25}, 2) == (
        'epoch 1/2 [10/20] 25.0 % | lr 3.00e-02 | loss 3.0000 (image 1.0000 dense 2.0000) | '
        'image_std 0.5 image_rank 12.2'
    )


def test_the_gradient_norm_has_its_place_behind_the_losses():
    shown = line({'image_std': 0.5, 'grad_norm': 1.25}, 1)
    assert '(image 1.0000 dense 2.0000) | grad_norm 1.25 | image_std 0.5' in shown


def test_what_does_not_fit_is_counted():
    figures = {f'std_{level}': 0.5 for level in range(5)}
    assert line(figures, 2).endswith('| std_0 0.5 std_1 0.5 (and 3 in scalars.json)')


@pytest.mark.parametrize('history', [5, 100])
def test_the_memory_of_logged_values_is_bounded(toy_runner, history):
    """24 steps; values of mmengine's own hooks too."""
    runner = toy_runner(
        dict(type='SGD', lr=1.0),
        default_hooks=dict(runtime_info=dict(type='DeferredRuntimeInfoHook', interval=4, history=history)),
        param_scheduler=[dict(type='PolyLR', by_epoch=False, begin=0, end=24)],
        log_processor=dict(type='PretrainLogProcessor'),
    )
    runner.train()
    scalars = runner.message_hub.log_scalars
    assert {'train/loss', 'train/lr', 'train/time'} <= scalars.keys()
    kept = {len(buffer.data[0]) for name, buffer in scalars.items() if 'grad' not in name}
    assert kept == {min(history, 24)}
    wanted = [1 - i / 23 for i in range(24)][-history:]
    assert scalars['train/lr'].data[0].tolist() == pytest.approx(wanted)
    assert scalars['train/lr'].mean(3) == pytest.approx(sum(wanted[-3:]) / 3)


def test_the_terminal_is_spared_environment_config_and_hooks(toy_runner, capsys):
    """The log file has them."""
    runner = toy_runner(dict(type='SGD', lr=1.0), log_level='INFO', cfg=dict(shown=1))
    printed = capsys.readouterr()
    printed = printed.out + printed.err
    log = Path(runner._log_dir) / f'{runner.timestamp}.log'
    for part in ('System environment:', 'Config:', 'Hooks will be executed'):
        assert part in log.read_text() and part not in printed
    assert f'environment and config: {log}' in printed
