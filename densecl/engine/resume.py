"""From which checkpoint a run goes on."""

import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mmengine.dist import all_gather_object, broadcast_object_list
from mmengine.logging import print_log

from densecl.compat import load_checkpoint
from densecl.distributed import rank
from densecl.files import checkpoints_of

_T = TypeVar('_T')


def answer_of_first(ask: Callable[[], _T]) -> _T:
    """What process 0 is told, or the error that it gets, in all processes; a collective operation."""
    answer: list = [None, None]
    if rank() == 0:
        try:
            answer[0] = ask()
        except Exception as error:
            answer[1] = error
    broadcast_object_list(answer)
    if answer[1] is not None:
        raise answer[1]
    return answer[0]


def newest_whole(folder: str | Path) -> Path | None:
    """The newest checkpoint of a run that is whole; one that is not is named and passed over.

    Raises:
        ValueError: there are checkpoints, and none is whole.
    """
    found = checkpoints_of(folder)
    for path in found:
        try:
            check_resumable(path)
            return path
        except (OSError, ValueError, pickle.UnpicklingError) as error:
            print_log(f'--resume: passed over: {error}', 'current', logging.WARNING)
    if found:
        raise ValueError(
            f'--resume: none of the {len(found)} checkpoints in {folder} is whole: copy one from a backup, '
            'or move them away to start anew'
        )
    return None


def check_resumable(path: Path) -> None:
    """Read a checkpoint through.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is cut off, altered, or holds weights alone.
        pickle.UnpicklingError: it needs classes that are not allowed.
    """
    saved = load_checkpoint(path, mmap=True)
    if not (isinstance(saved, dict) and isinstance(saved.get('meta'), dict) and 'iter' in saved['meta']):
        raise ValueError(
            f'checkpoint {path} does not say at which iteration it was made (meta.iter): it holds weights, '
            'and no run that could go on'
        )


def check_together(iteration: int, folder: str | Path) -> None:
    """Compare where the processes go on; a collective operation.

    Raises:
        ValueError: at different iterations, in all processes.
    """
    seen = all_gather_object(iteration)
    if len(set(seen)) > 1:
        raise ValueError(
            f'the processes would go on at iterations {seen}, by rank: all of them must see the same '
            f'checkpoints in {folder}, on a disk that the machines share'
        )
