"""SIGTERM and SIGINT: saved at the end of the step, code 143 or 130; a second SIGINT stops at once."""

import os
import signal
import time

import pytest
from mmengine.hooks import Hook

from densecl.compat import load_checkpoint
from densecl.engine.hooks.checkpoint import STOPPED

CHECKPOINTS = dict(type='PretrainCheckpointHook', interval=4, by_epoch=False, max_keep_ckpts=2)
END = dict(type='TerminateHook')


class Send(Hook):
    """Sends signals to its own process in one iteration, some seconds apart."""

    priority = 'HIGH'

    def __init__(self, iteration, *numbers, apart=0.0) -> None:
        self.iteration, self.numbers, self.apart = iteration, numbers, apart

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == self.iteration:
            for i, number in enumerate(self.numbers):
                time.sleep(self.apart if i else 0)
                os.kill(os.getpid(), number)
                time.sleep(0)  # Python's handler runs


@pytest.fixture(autouse=True)
def _interruptible():
    """Python's handler of SIGINT, which jobs that a shell starts in the background ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def stopped(toy_runner):
    """Exit code of a run that got signals in its sixth iteration."""

    def run(*numbers, apart=0.0, keep=2, **options):
        checkpoints = dict(CHECKPOINTS, max_keep_ckpts=keep)
        options = dict(default_hooks=dict(checkpoint=checkpoints, terminate=END), **options)
        runner = toy_runner(dict(type='SGD', lr=0.1), **options)
        runner.register_hook(Send(5, *numbers, apart=apart))
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


@pytest.mark.parametrize('keep', [2, -1])
def test_what_a_signal_saved_goes_when_the_next_is_written(keep, stopped, toy_runner, tmp_path):
    stopped(signal.SIGTERM, keep=keep)
    folder = tmp_path / 'toy'
    assert sorted(p.name for p in folder.glob('*.pth')) == ['iter_4.pth', 'iter_6.pth']
    toy_runner(
        dict(type='SGD', lr=0.1),
        default_hooks=dict(checkpoint=dict(CHECKPOINTS, max_keep_ckpts=keep)),
        resume=True,
        load_from=str(folder / 'iter_6.pth'),
        train_cfg=dict(by_epoch=False, max_iters=8),
    ).train()
    assert sorted(p.name for p in folder.glob('*.pth')) == ['iter_4.pth', 'iter_8.pth']


@pytest.fixture
def code_of(stopped):
    """Exit code of such a run in a process of its own."""

    def run(*numbers, apart):
        child = os.fork()
        if not child:
            code = 99
            try:
                code = stopped(*numbers, apart=apart)
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    return run


@pytest.mark.parametrize(
    'first, second, apart, code',
    [
        (signal.SIGTERM, signal.SIGTERM, 0.01, 143),
        (signal.SIGTERM, signal.SIGTERM, 1.2, 143),
        (signal.SIGTERM, signal.SIGINT, 0.01, 143),
        (signal.SIGINT, signal.SIGINT, 0.01, 130),
        (signal.SIGINT, signal.SIGTERM, 0.01, 130),
    ],
)
def test_two_signals_of_a_launcher_save(first, second, apart, code, code_of, tmp_path):
    assert code_of(first, second, apart=apart) == code
    assert (tmp_path / 'toy/last_checkpoint').read_text().endswith('iter_6.pth')


@pytest.mark.parametrize('first', [signal.SIGTERM, signal.SIGINT])
def test_a_later_sigint_ends_the_process_at_once(first, code_of, tmp_path):
    assert code_of(first, signal.SIGINT, apart=1.2) == -signal.SIGINT
    assert (tmp_path / 'toy/last_checkpoint').read_text().endswith('iter_4.pth')


def test_a_regular_checkpoint_of_the_same_iteration_is_not_to_go(toy_runner, tmp_path):
    runner = toy_runner(dict(type='SGD', lr=0.1), default_hooks=dict(checkpoint=CHECKPOINTS, terminate=END))
    runner.register_hook(Send(3, signal.SIGTERM))
    with pytest.raises(SystemExit):
        runner.train()
    saved = load_checkpoint(tmp_path / 'toy/iter_4.pth')
    assert saved['meta']['iter'] == 4 and STOPPED not in saved['message_hub']['runtime_info']


def test_a_signal_that_was_ignored_stays_so(stopped, monkeypatch):
    """As nohup and & of a shell have it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert stopped(signal.SIGINT, signal.SIGTERM) == 143
    finally:
        signal.signal(signal.SIGINT, before)
