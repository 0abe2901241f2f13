"""Images that a generator made from a photo before the training; chooses one for each sample."""

import csv
import fnmatch
import glob
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from densecl.inputs import read_json
from densecl.messages import check_choice

from .sources.base import joined

TAKES = ('first', 'random', 'best')
_EXPECTED = 'rows with image, file and perhaps score'


class Candidate(NamedTuple):
    """A generated image: its file and its score (higher is better; nan: unknown)."""

    file: str
    score: float = float('nan')


class GeneratedImages:
    """Finds the generated image of a photo (GenView, Li et al., ECCV 2024; no generator is needed here).

    Args:
        files: the generated images, in one of two forms. A pattern with ``{stem}``, relative to the photo's
            folder: ``'.generated/{stem}_*'`` means ``.generated/photo_0.jpg``, ... for ``photo.jpg``, in the
            order of their names, but not those of ``photo_1.jpg`` if there is such a photo. (Use a hidden
            folder: sources read the images of other folders as photos. Of very many photos give each one a
            folder, ``'.generated/{stem}/*'``: it is read for every sample.)
            Or a list: ``.csv`` with the columns image, file and optionally score, or ``.json`` with a list of
            such objects. Here image is the photo's id (its path below ``data_root``), and file is relative to
            the list's folder.
        take: ``'first'``; ``'random'``: a new one each epoch; ``'best'``: the one with the highest score.
        missing: for photos without a generated image: ``'error'``, or ``'photo'``: use the photo itself.
        outside: files of a list may be outside the list's folder.

    Raises:
        ValueError: an unknown choice, a file that is no list, or ``'best'`` without scores.
        FileNotFoundError: there is no such list.
    """

    def __init__(
        self, files: str | os.PathLike, take: str = 'random', missing: str = 'error', outside: bool = False
    ) -> None:
        self.files, self.take = os.fspath(files), check_choice('dataset.generated: take', take, TAKES)
        self.missing = check_choice('dataset.generated: missing', missing, ('error', 'photo'))
        listed = self.files.endswith(('.csv', '.json'))
        if not listed and '{stem}' not in self.files:
            raise ValueError(
                "dataset.generated: files must be a pattern such as '.generated/{stem}_*', or a .csv or "
                f'.json list, got {self.files!r}'
            )
        self.listed = read_list(self.files, outside) if listed else None
        if take == 'best' and (self.listed is None or not all(map(_scored, self.listed.values()))):
            raise ValueError(
                f"dataset.generated: take='best' needs a score for every file; {self.files} has none for some"
            )

    def __call__(self, image_id: str, name: str, rng: np.random.Generator) -> Candidate | None:
        """Choose the generated image of a photo; None: use the photo itself.

        Args:
            image_id: the photo's id.
            name: the photo's path.
            rng: source of randomness; the number of values taken does not depend on the files.
        """
        share = rng.random()
        found = self._beside(name) if self.listed is None else self.listed.get(image_id, [])
        if not found:
            if self.missing == 'photo':
                return None
            where = (
                f'matches {self.files}'
                if self.listed is None
                else f'is listed in {self.files} ({image_id!r})'
            )
            raise ValueError(
                f"{name}: no generated image {where}; make it, or set dataset.generated.missing='photo'"
            )
        if self.take == 'best':
            return max(found, key=lambda each: each.score)
        return found[int(share * len(found)) if self.take == 'random' else 0]

    def _beside(self, name: str) -> list[Candidate]:
        folder, base = os.path.split(name)
        stem, suffix = os.path.splitext(base)
        pattern = self.files.format(stem=glob.escape(stem))
        found = sorted(glob.glob(pattern, root_dir=folder or None))
        own = [file for file in found if not self._of_another(file, stem, folder, suffix)]
        return [Candidate(os.path.join(folder, file)) for file in own]

    def _of_another(self, file: str, stem: str, folder: str, suffix: str) -> bool:
        """Whether a file that matches ``stem`` belongs to a photo with a longer one: cat_2_0 to cat_2."""
        begin = len(self.files.partition('{stem}')[0])
        last = file.find(os.sep, begin) if os.sep in file[begin:] else len(file)
        longer = (file[begin:end] for end in range(begin + len(stem) + 1, last))
        return any(
            os.path.exists(os.path.join(folder, other + suffix))
            and fnmatch.fnmatchcase(file, self.files.format(stem=glob.escape(other)))
            for other in longer
        )


def read_list(path: str | os.PathLike, outside: bool = False) -> dict[str, list[Candidate]]:
    """Photo's id -> its generated images in the list's order; they must be below its folder unless
    ``outside``."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'dataset.generated: the list {path} does not exist')
    if path.suffix == '.json':
        rows = read_json(path, f'a list of {_EXPECTED}')
        if not isinstance(rows, list):
            raise ValueError(f'{path}: expected a list of {_EXPECTED}, got {type(rows).__name__}')
    else:
        rows = _read(path, lambda file: list(csv.DictReader(file)))
    found: dict[str, list[Candidate]] = {}
    for number, row in enumerate(rows):
        try:
            (file,) = joined(path.parent, [row['file']], path, outside)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f'{path}: entry {number} is {row!r:.200}, expected {_EXPECTED}') from error
        try:
            score = row.get('score')
            candidate = Candidate(file, float('nan' if score in (None, '') else score))
            if not isinstance(row['image'], str):
                raise TypeError('image must be a text')
            found.setdefault(row['image'], []).append(candidate)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f'{path}: entry {number} is {row!r}, expected {_EXPECTED}') from error
    return found


def _read(path: Path, read: Callable):
    try:
        with path.open(newline='', encoding='utf-8-sig') as file:
            return read(file)
    except (ValueError, csv.Error) as error:  # ValueError: wrong json or wrong UTF-8
        raise ValueError(f'{path} cannot be read: {error}; expected {_EXPECTED}, in UTF-8') from error


def _scored(candidates: Sequence[Candidate]) -> bool:
    return all(each.score == each.score for each in candidates)  # nan is not equal to itself
