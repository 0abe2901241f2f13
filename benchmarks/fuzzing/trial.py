"""One execution: a valid file is changed and read; and many of them, in a process that may die of it."""

import faulthandler
import resource
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from .changes import CHANGES, CUTS, Change

SECONDS = 120
"""For one execution; most take milliseconds, an image of 178 million pixels some seconds on a free core."""
GROWTH = 2 * 2**20
"""KiB of memory that one execution may take; the largest image that is read needs 1.4 GiB."""
ADDRESSES = 8 * 2**30
"""Bytes of address space beside those of the process; who asks for more gets a MemoryError, a fault."""


@dataclass
class Reader:
    """One way of reading a file.

    Attributes:
        name: of the reader.
        file: name of the file, in a folder that has what belongs to it.
        seeds: valid files by name.
        read: path -> what was read. It checks what must hold of any result by ``require``.
        errors: what may be raised; all of one line that names the file.
        noticed: changes after which the result must be the one without them, or an error.
        changes: further changes of this kind of file.
        any_file: the changes of any file, too.
        named: an error names the file.
    """

    name: str
    file: str
    seeds: dict[str, bytes]
    read: Callable[[Path], object]
    errors: tuple[type[Exception], ...]
    noticed: tuple[str, ...] = CUTS
    changes: dict[str, Change] = field(default_factory=dict)
    any_file: bool = True
    named: bool = True

    def all_changes(self) -> dict[str, Change]:
        """Those of any file and of this kind."""
        return CHANGES | self.changes if self.any_file else self.changes


class Wrong(AssertionError):
    """A result that must not be."""


def require(holds: bool, what: str) -> None:
    """Raise Wrong unless ``holds``."""
    if not holds:
        raise Wrong(what)


@dataclass(frozen=True)
class Kind:
    """A kind of hostile input."""

    reader: Reader
    seed: str
    change: str

    def __str__(self) -> str:
        return f'{self.reader.name} / {self.seed} / {self.change}'


@dataclass
class Fault:
    """What must not happen."""

    number: int
    kind: str
    what: str


def kinds_of(readers: list[Reader]) -> list[Kind]:
    """All kinds, in an order that mixes them."""
    found = [Kind(r, seed, change) for r in readers for seed in r.seeds for change in r.all_changes()]
    return [found[i] for i in np.random.default_rng(0).permutation(len(found))]


def hostile(kind: Kind, seed: int, number: int) -> bytes:
    """The input of one execution."""
    rng = np.random.default_rng((seed, number))
    others = list(kind.reader.seeds.values())
    other = others[int(rng.integers(len(others)))]
    return kind.reader.all_changes()[kind.change](kind.reader.seeds[kind.seed], rng, other)


def execute(kind: Kind, data: bytes, folder: Path, valid: object) -> str | None:
    """Read the input; what is wrong about what happens, or None.

    Args:
        kind: of the input.
        data: the input.
        folder: where the reader's files stand.
        valid: what is read of the file that was changed.
    """
    path = folder / kind.reader.name / kind.reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        found = kind.reader.read(path)
    except Wrong as error:
        return f'wrong result: {error}'
    except kind.reader.errors as error:
        if why := _complaint(error, path if kind.reader.named else None):
            return why
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f'{last.filename}:{last.lineno}'
        return f'{type(error).__name__} in place of one that names the file: {error!s:.200} ({where})'
    else:
        if kind.change in kind.reader.noticed and not same(found, valid):
            return 'wrong result: the change was not noticed'
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return f'{growth // 1024} MiB of memory' if growth > GROWTH else None


def _complaint(error: BaseException, path: Path | None) -> str | None:
    """What is wrong about an error that may be raised."""
    text = str(error)
    if len(text.strip().splitlines()) != 1:
        return f'an error of several lines: {text!r:.300}'
    if path is None:
        return None
    if path.name not in text and path.parent.name not in text:
        return f'an error that does not name the file: {text:.300}'
    chain = error
    while chain is not None:
        if isinstance(chain, MemoryError) or 'allocate' in str(chain):
            return f'memory was asked for before it was bounded: {chain!s:.200}'
        chain = chain.__cause__ or chain.__context__
    return None


def same(a: object, b: object) -> bool:
    """Whether two results are equal, arrays included."""
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def run(
    kinds: list[Kind],
    numbers: range,
    seed: int,
    folder: Path,
    counter: np.ndarray,
    report: Callable[[dict], None],
    seconds: float = SECONDS,
) -> None:
    """Execute some numbers; ``counter[0]`` is always the one at work, ``report(fault)`` gets the faults.

    The process ends where one takes longer than ``seconds``.
    """
    size = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESSES, size + ADDRESSES))
    valid: dict[tuple, object] = {}
    for number in numbers:
        counter[0] = number
        kind = kinds[number % len(kinds)]
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.stderr)
        key = kind.reader.name, kind.seed
        if key not in valid:
            path = folder / kind.reader.name / kind.reader.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(kind.reader.seeds[kind.seed])
            valid[key] = kind.reader.read(path)
        what = execute(kind, hostile(kind, seed, number), folder, valid[key])
        faulthandler.cancel_dump_traceback_later()
        if what is not None:
            report(asdict(Fault(number, str(kind), what)))
    counter[0] = numbers.stop
