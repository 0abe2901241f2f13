"""Reports a user's mistake in one line, by one process. All other errors keep their traceback."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from mmengine.runner import Runner
from torch.distributed import TCPStore

from densecl.building import ConfigMistake, one_line
from densecl.datasets.unreadable import DataError

#: The exit code after a mistake, the same as for a command line that cannot be parsed.
MISTAKE = 2
_DEBUG = 'DENSECL_DEBUG'
#: Errors that a user can fix, at any time of a run; their message is enough.
_USERS = (ConfigMistake, DataError)


class Progress:
    """How far a training has come. An error before the first step is taken as a mistake in the input."""

    def __init__(self) -> None:
        self.runner: Runner | None = None

    def is_mistake(self, error: Exception) -> bool:
        """Whether an error is reported in one line."""
        if isinstance(error, _USERS) or self.runner is None:
            return True
        loop = self.runner._train_loop  # a config until it is built
        if isinstance(loop, dict) or not getattr(self.runner, 'began', False):
            return True
        return loop.iter == 0 and isinstance(error, ValueError | OSError)


@contextlib.contextmanager
def in_one_line(
    name: str, debug: bool | None = False, kinds: tuple[type[Exception], ...] = (Exception,)
) -> Iterator[Progress]:
    """End the program with one line if a config, a file or an option is wrong.

    Args:
        name: of the program.
        debug: show the traceback; so does the environment variable ``DENSECL_DEBUG=1``. None: the program
            has no such option.
        kinds: error types that are reported in one line; others keep their traceback.
    """
    progress = Progress()
    try:
        yield progress
    except kinds as error:
        if debug or os.environ.get(_DEBUG) or not progress.is_mistake(error):
            raise
        text = one_line(error)
        if first_to_say(text):
            option = f'{_DEBUG}=1' if debug is None else '--debug'
            hint = '' if isinstance(error, _USERS) else f' ({option} shows where)'
            print(f'{name}: {text}{hint}', file=sys.stderr, flush=True)
        sys.exit(MISTAKE)


def call(main: Callable[[], int | None]) -> None:
    """Run a script of ``tools/``; a wrong file or option is reported in one line."""
    with in_one_line(Path(sys.argv[0]).name, None, (ValueError, OSError, ImportError, DataError)):
        code = main()
    if code:
        sys.exit(code)


def process_number() -> int:
    """The rank of this process, also before mmengine has read it from Slurm."""
    return int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0)))


def first_to_say(text: str) -> bool:
    """Whether this process should print ``text``: no other process of the job has printed it.

    If the processes cannot ask each other, process 0 prints.
    """
    rank = process_number()
    if os.environ.get('TORCHELASTIC_USE_AGENT_STORE') != 'True':
        return rank == 0
    key = hashlib.sha256(f'{os.environ.get("TORCHELASTIC_RESTART_COUNT")} {text}'.encode()).hexdigest()
    try:
        address = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
        store = TCPStore(*address, is_master=False, timeout=timedelta(seconds=5))
        return store.add(f'densecl/said/{key}', 1) == 1
    except (RuntimeError, KeyError, ValueError):
        return rank == 0
