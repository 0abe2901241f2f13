"""SIGTERM and SIGINT: saved at the end of the step, code 143 or 130; a second one stops at once."""

import os
import signal
import time

import pytest
from mmengine.hooks import Hook

from densecl.compat import load_checkpoint

CHECKPOINTS = dict(type='PretrainCheckpointHook', interval=4, by_epoch=False, max_keep_ckpts=2)
END = dict(type='TerminateHook')


class Send(Hook):
    """Sends signals to its own process in one iteration."""

    priority = 'HIGH'

    def __init__(self, iteration, *numbers) -> None:
        self.iteration, self.numbers = iteration, numbers

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.iteration:
            for number in self.numbers:
                os.kill(os.getpid(), number)
                time.sleep(0)  # Python's handler runs


@pytest.fixture
def stopped(toy_runner):
    """Exit code of a run that got signals in its sixth iteration."""

    def run(*numbers, **options):
        options = dict(default_hooks=dict(checkpoint=CHECKPOINTS, terminate=END), **options)
        runner = toy_runner(dict(type='SGD', lr=0.1), **options)
        runner.register_hook(Send(5, *numbers))
        with pytest.raises(SystemExit) as caught:
            runner.train()
        return caught.value.code

    return run


@pytest.mark.parametrize('number, code', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_gives_its_code(number, code, stopped, tmp_path, capfd):
    before = signal.getsignal(number)
    assert stopped(number) == code
    assert signal.getsignal(number) is before
    last = (tmp_path / 'toy/last_checkpoint').read_text()
    assert last.endswith('iter_6.pth') and load_checkpoint(last)['meta']['iter'] == 6
    assert f'{signal.Signals(number).name}: saving at the end of this step' in capfd.readouterr().err


def test_a_step_of_several_iterations_is_finished(stopped, tmp_path):
    assert stopped(signal.SIGTERM, accumulative_counts=4) == 143
    assert (tmp_path / 'toy/last_checkpoint').read_text().endswith('iter_8.pth')


def test_what_a_signal_saved_goes_when_the_next_is_written(stopped, toy_runner, tmp_path):
    stopped(signal.SIGTERM)
    folder = tmp_path / 'toy'
    assert sorted(p.name for p in folder.glob('*.pth')) == ['iter_4.pth', 'iter_6.pth']
    toy_runner(
        dict(type='SGD', lr=0.1),
        default_hooks=dict(checkpoint=CHECKPOINTS),
        resume=True,
        load_from=str(folder / 'iter_6.pth'),
        train_cfg=dict(by_epoch=False, max_iters=8),
    ).train()
    assert sorted(p.name for p in folder.glob('*.pth')) == ['iter_4.pth', 'iter_8.pth']


@pytest.mark.parametrize('first', [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(first, stopped, tmp_path):
    child = os.fork()
    if not child:
        try:
            stopped(first, signal.SIGINT)
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGINT
    assert (tmp_path / 'toy/last_checkpoint').read_text().endswith('iter_4.pth')


def test_a_signal_that_was_ignored_stays_so(stopped, monkeypatch):
    """As nohup and & of a shell have it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert stopped(signal.SIGINT, signal.SIGTERM) == 143
    finally:
        signal.signal(signal.SIGINT, before)
