"""What a user did wrong is told in one line, by one process; the traceback of anything else is kept."""

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

#: The exit code of such an end, as of a command line that cannot be parsed.
MISTAKE = 2
_DEBUG = 'DENSECL_DEBUG'
#: What is a user's to mend whenever it is found; the message says it all.
_USERS = (ConfigMistake, DataError)


class Progress:
    """How far a training has come: what goes wrong before its first step lies in what it was given."""

    def __init__(self) -> None:
        self.runner: Runner | None = None

    def is_mistake(self, error: Exception) -> bool:
        """Whether an error is told in a line."""
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
    """End the program with one line where a config, a file or an option cannot be.

    Args:
        name: of the program.
        debug: show the traceback; so does the environment variable ``DENSECL_DEBUG=1``. None: the program
            has no such option.
        kinds: of errors that are told so; others keep their traceback.
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
    """Run a script of ``tools/``; a file or an option that cannot be is told in one line."""
    with in_one_line(Path(sys.argv[0]).name, None, (ValueError, OSError, ImportError, DataError)):
        code = main()
    if code:
        sys.exit(code)


def process_number() -> int:
    """The number of this process, also before mmengine has read it from Slurm."""
    return int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0)))


def first_to_say(text: str) -> bool:
    """Whether no other process of the job has said this; without a way to ask them, process 0 speaks."""
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
