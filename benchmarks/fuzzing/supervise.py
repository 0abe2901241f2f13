"""Starting processes that may die, one after the other, until all numbers are executed."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Outcome:
    """What was executed, of how many kinds, and the faults as :class:`.trial.Fault` has them."""

    executions: int = 0
    kinds: int = 0
    faults: list[dict] = field(default_factory=list)


def supervise(command: Callable[[int, int], list[str]], seconds: float | None = None) -> Outcome:
    """Run children until they have come to the end; where one dies the next goes on behind that number.

    Args:
        command: (first number, descriptor of a file) -> the command of a child. It prints json: first
            ``stop`` and ``kinds``, then faults; and keeps the number at work, an int64, in the file.
        seconds: end after so long.
    """
    began, found, stop = time.monotonic(), Outcome(), 1
    with tempfile.NamedTemporaryFile() as counter:
        counter.write(bytes(8))
        counter.flush()
        while found.executions < stop:
            left = None if seconds is None else max(seconds - (time.monotonic() - began), 0.1)
            said, errors, code = _run(command(found.executions, counter.fileno()), counter.fileno(), left)
            if not said and code is not None:
                raise RuntimeError(f'the child did not begin: {errors}')
            if not said:
                break
            stop, found.kinds = said[0]['stop'], said[0]['kinds']
            found.faults += said[1:]
            at = int(np.fromfile(counter.name, np.int64)[0])
            if code is None:
                found.executions = at
                break
            if at < stop:
                what = f'the process died ({code}): {errors[-1500:]}'
                found.faults.append(dict(number=at, kind='?', what=what))
            found.executions = min(at + 1, stop)
    return found


def _run(command: list[str], handle: int, seconds: float | None) -> tuple[list[dict], str, int | None]:
    """What a child printed, its errors, and its exit code; None where it was out of time."""
    with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, pass_fds=[handle])
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = None
        out.seek(0)
        err.seek(0)
        return [json.loads(line) for line in out if line.startswith('{')], err.read(), code
