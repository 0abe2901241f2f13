"""Proposals of all images of a source, by all cores."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2

from densecl.datasets.decode import UnreadableImageError, decode_image
from densecl.datasets.propose import propose
from densecl.datasets.sources import Source
from densecl.structures import Proposals

from .shard import Shard, check_settings
from .store import SUFFIX
from .writer import ProposalWriter


@dataclass
class Made:
    """The proposals of an image, or why there are none."""

    image_id: str
    proposals: Proposals | None = None
    error: str | None = None


@dataclass
class Maker:
    """Makes the proposals of one image of a source; fork or pickle it into workers.

    Attributes:
        source: of the images.
        provider: of proposals.
        high_depth: see :func:`densecl.datasets.decode.decode_image`.
    """

    source: Source
    provider: Callable
    high_depth: str = 'range'

    def __call__(self, position: int) -> Made:
        """Of the image at this position; a file that cannot be read is no exception but a result."""
        image_id = self.source.image_id(position)
        try:
            data, name = self.source.load(position)
            image = decode_image(data, name, self.high_depth)
        except UnreadableImageError as error:
            return Made(image_id, error=str(error))
        return Made(image_id, propose(self.provider, image, image_id, name))


def shard_file(folder: str | Path, shard: tuple[int, int] = (0, 1)) -> Path:
    """The file of shard i of n in a store's folder.

    Raises:
        ValueError: not 0 <= i < n, or the folder has been divided otherwise.
    """
    number, count = shard
    if not 0 <= number < count:
        raise ValueError(f'shard i/n: 0 <= i < n, got {number}/{count}')
    ending = f'-of-{count:05d}{SUFFIX}'
    for file in Path(folder).glob(f'*-of-*{SUFFIX}*'):
        # hidden ones are what a killed process was writing
        if not file.name.startswith('.') and not file.name.removesuffix('.part').endswith(ending):
            raise ValueError(
                f'{folder} holds {file.name}, which is of another division than {number}/{count}; '
                'go on with that one or choose another folder'
            )
    return Path(folder) / f'{number:05d}{ending}'


def open_positions(source: Source, writer: ProposalWriter, shard: tuple[int, int]) -> list[int]:
    """Positions of the shard's images that are in no file of the writer's folder yet.

    A shard is a run of the source, so that tars are read in runs.

    Raises:
        ValueError: a file of the folder was made with other settings than the writer's.
    """
    number, count = shard
    start, stop = (len(source) * i // count for i in (number, number + 1))
    others = [Shard(f) for f in writer.path.parent.glob(f'*{SUFFIX}') if f != writer.path]
    for other in others:
        check_settings(other.path, other.settings, writer.settings)
    held = [writer, *others]
    return [i for i in range(start, stop) if not any(source.image_id(i) in part for part in held)]


def fill(writer: ProposalWriter, maker: Maker, positions: Iterable[int], jobs: int = 1) -> Iterator[Made]:
    """Make the proposals of images and add them as they come; yields what was made.

    Args:
        writer: where they go. What it has at any time, it keeps.
        maker: of the proposals.
        positions: of the images.
        jobs: worker processes; 1 works in this process.

    Raises:
        RuntimeError: the provider failed, or a worker was killed. Start again to go on.
    """
    for made in _each(maker, iter(positions), jobs):
        # a list may name an image twice
        if made.proposals is not None and made.image_id not in writer:
            writer[made.image_id] = made.proposals
        yield made


def _each(maker: Maker, positions: Iterator[int], jobs: int) -> Iterator[Made]:
    # the first one here, so that what a provider compiles is compiled once and forked
    for position in positions:
        yield maker(position)
        if jobs > 1:
            break
    else:
        return
    context = multiprocessing.get_context('fork' if hasattr(os, 'fork') else None)
    with ProcessPoolExecutor(jobs, context, _start, (maker,)) as pool:
        try:
            yield from _in_flight(pool, positions, 4 * jobs)
        except BrokenProcessPool as error:
            raise RuntimeError(
                'a worker process was killed, perhaps for want of memory. What was made is kept: run '
                'the same command again, perhaps with fewer jobs or a smaller short side'
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_flight(pool: ProcessPoolExecutor, positions: Iterator[int], limit: int) -> Iterator[Made]:
    """Results in the order in which they come, never more than ``limit`` tasks at a time."""
    pending = {pool.submit(_make, position) for position in islice(positions, limit)}
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        pending |= {pool.submit(_make, position) for position in islice(positions, len(done))}
        yield from (task.result() for task in done)


_maker: Maker | None = None


def _start(maker: Maker) -> None:
    """In a new worker."""
    global _maker
    _maker = maker
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process says what an interrupt means
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _make(position: int) -> Made:
    return _maker(position)


def _end_with_parent() -> None:
    """A killed main process cannot end its workers."""
    multiprocessing.parent_process().join()
    os._exit(1)
