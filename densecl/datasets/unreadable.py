"""Images that cannot be read: which ones, why, and when there are too many."""

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from PIL import UnidentifiedImageError

from densecl.files import atomic_write

REASONS = (
    'missing',
    'not accessible',
    'empty',
    'truncated',
    'not an image',
    'too large',
    'other channels or values',
    'damaged',
)
"""Why an image cannot be read."""

_REASON, _GENERATED, _ASKED = 0x0F, 0x10, 0x20


class TooLargeError(ValueError):
    """An image needs more memory than allowed; its header says so before the memory is taken."""


class DataError(RuntimeError):
    """The data of a run are not usable; the message is one line that names the file."""


class UnreadableImageError(DataError):
    """A file that cannot be decoded; the message names it.

    Attributes:
        reason: one of :data:`REASONS`.
    """

    def __init__(self, message: str, reason: str = 'damaged') -> None:
        super().__init__(message)
        self.reason = reason


def reason_of(error: Exception) -> str:
    """The one of :data:`REASONS` that fits a decoder's error."""
    text = str(error).lower()
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return 'missing'
    if isinstance(error, OSError) and error.errno is not None:
        return 'not accessible'
    if isinstance(error, UnidentifiedImageError):
        return 'not an image'
    if isinstance(error, TooLargeError | MemoryError):
        return 'too large'
    if isinstance(error, EOFError) or any(word in text for word in ('truncat', 'cut off', 'not enough')):
        return 'truncated'
    return 'empty' if 'is empty' in text else 'damaged'


class Unreadable:
    """Marks the images of a data set that could not be read, with one byte per image.

    Args:
        images: N.
        limit: largest share of unreadable images; beyond it :meth:`check` raises.
        epoch: number of images that this process reads in an epoch. The share is relative to the images asked
            for so far, or to this number if it is larger.
        shared: keep the marks in memory that data workers share.
    """

    def __init__(self, images: int, limit: float, epoch: float, shared: bool) -> None:
        self.limit, self.epoch = limit, epoch
        self._marks = torch.zeros(images, dtype=torch.uint8)
        if shared:
            self._marks.share_memory_()

    def ask(self, position: int) -> None:
        """Count an image as asked for."""
        self._marks[position] |= _ASKED

    def add(self, position: int, reason: str, generated: bool = False) -> bool:
        """Mark an image, or the one generated from it; False if it was marked before."""
        bits, mark = (_GENERATED, _GENERATED) if generated else (_REASON, REASONS.index(reason) + 1)
        if int(self._marks[position]) & bits:
            return False
        self._marks[position] |= mark
        return True

    def mend(self, position: int) -> None:
        """Remove the mark of an image, as it could be read now."""
        if int(self._marks[position]) & _REASON:
            self._marks[position] &= ~_REASON

    def state(self) -> torch.Tensor:
        """(N,) uint8, the marks as they are now."""
        return self._marks.clone()

    def load(self, state: torch.Tensor) -> bool:
        """Restore marks. False: they are for another number of images, so the count starts again."""
        if state.shape != self._marks.shape:
            return False
        self._marks.copy_(state)
        return True

    def count(self, generated: bool = False) -> int:
        """Number of marked images, or of marked generated ones."""
        return int((self._marks & (_GENERATED if generated else _REASON)).count_nonzero())

    def reasons(self) -> dict[int, str]:
        """Position -> reason of the marked images."""
        marks = self._marks & _REASON
        return {int(i): REASONS[int(marks[i]) - 1] for i in marks.nonzero()[:, 0]}

    def check(self, last: UnreadableImageError) -> None:
        """Raise UnreadableImageError, from the last one, if more images are unreadable than allowed."""
        asked = int((self._marks & _ASKED).count_nonzero())
        count, why = self.count(), by_reason(self.reasons().values())
        if count > self.limit * max(asked, self.epoch):
            raise UnreadableImageError(
                f'{count} images cannot be read ({why}), of {asked} asked for so far and {self.epoch:.0f} an '
                f'epoch, more than dataset.max_unreadable={self.limit:g} allows; the last: {last}; mend or '
                'remove them, or set max_unreadable to a larger share of all images',
                last.reason,
            )


def by_reason(reasons: Iterable[str]) -> str:
    """``missing 3, truncated 1``"""
    return ', '.join(f'{reason} {count}' for reason, count in Counter(reasons).most_common())


def write_list(path: str | Path, found: dict[str, str]) -> None:
    """Add image -> reason to a CSV file with these columns; existing rows stay."""
    path, known = Path(path), {}
    if path.is_file():
        with path.open(newline='', encoding='utf-8', errors='surrogateescape') as file:
            known = {row['image']: row['reason'] for row in csv.DictReader(file)}
    if found.items() <= known.items():
        return
    with atomic_write(path) as temporary, \
            open(temporary, 'w', newline='', encoding='utf-8', errors='surrogateescape') as file:  # fmt: skip
        rows = csv.writer(file)
        rows.writerow(['image', 'reason'])
        rows.writerows((known | found).items())
