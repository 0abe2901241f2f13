"""Chooses the checkpoint from which a run is resumed."""

import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mmengine.config import Config
from mmengine.dist import all_gather_object, broadcast_object_list
from mmengine.logging import print_log

from densecl.compat import load_checkpoint
from densecl.distributed import rank
from densecl.files import checkpoints_of
from densecl.inputs import parse_config
from densecl.signatures import shortened

_T = TypeVar('_T')
#: Settings of a call, not of the run; and the seed, which mmengine takes from the checkpoint.
_OF_A_CALL = ('work_dir', 'load_from', 'resume', 'launcher', 'log_level', 'randomness.seed')
_MISSING = object()


def answer_of_first(ask: Callable[[], _T]) -> _T:
    """Call ``ask`` in process 0; return its result, or raise its error, in all processes (a collective)."""
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
    """The newest whole checkpoint of a run. Damaged checkpoints are reported and skipped.

    Raises:
        ValueError: there are checkpoints, but none is whole.
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
    """Read a whole checkpoint to check that a run can be resumed from it.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is cut off, altered, or has only weights.
        pickle.UnpicklingError: it needs classes that are not allowed.
    """
    saved = load_checkpoint(path, mmap=True)
    if not (isinstance(saved, dict) and isinstance(saved.get('meta'), dict) and 'iter' in saved['meta']):
        raise ValueError(
            f'checkpoint {path} does not say at which iteration it was made (meta.iter): it holds weights, '
            'and no run that could go on'
        )


def check_together(iteration: int, folder: str | Path) -> None:
    """Check that all processes resume at the same iteration; a collective operation.

    Raises:
        ValueError: in all processes, if the iterations differ.
    """
    seen = all_gather_object(iteration)
    if len(set(seen)) > 1:
        raise ValueError(
            f'the processes would go on at iterations {seen}, by rank: all of them must see the same '
            f'checkpoints in {folder}, on a disk that the machines share'
        )


def changed_settings(before: Any, now: Config) -> list[str]:
    """What a resumed run does otherwise, a text for each setting: ``'optim_wrapper.dtype: x, now y'``.

    Args:
        before: the config in the checkpoint, as text (mmengine's ``meta.cfg``). [] if it cannot be read.
        now: the config of the resumed run.
    """
    old = parse_config(before, paths=True)
    if not old:
        return []
    old, new = _flat(old), _flat(parse_config(now.pretty_text, paths=True))
    texts = []
    for key in dict.fromkeys((*old, *new)):
        was, value = old.get(key, _MISSING), new.get(key, _MISSING)
        if was != value and not key.startswith(_OF_A_CALL):
            told = ['not given' if x is _MISSING else shortened(x) for x in (was, value)]
            texts.append(f'{key}: {told[0]}, now {told[1]}')
    return texts


def _flat(value: Any, key: str = '') -> dict[str, Any]:
    """Dotted key -> value, of dicts in dicts and lists."""
    if isinstance(value, list | tuple) and any(isinstance(part, dict | list | tuple) for part in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not value:
        return {key: list(value) if isinstance(value, tuple) else value}  # json has no tuples
    found: dict[str, Any] = {}
    for name, part in value.items():
        found |= _flat(part, f'{key}.{name}' if key else str(name))
    return found
