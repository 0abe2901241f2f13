"""Proposals of many images on disk, found by image id."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from densecl.registry import PROPOSALS
from densecl.structures import Proposals

from .errors import MissingProposalsError
from .log import as_json
from .record import PRECISION, decode
from .store_file import StoreFile
from .writer import ProposalWriter

SUFFIX = '.props'


@PROPOSALS.register_module()
class ProposalStore:
    """The proposals in a file, or in all files ``*.props`` of a folder, by image id.

    A mapping that is never loaded whole: files are mapped into memory, which all processes share, and
    may be forked and pickled. As a provider it ignores the image that it is given; its boxes are in
    pixels of the original image.

    Args:
        path: of a file or a folder. Of an image that several files of a folder have, the first file
            counts, in the order of their names.

    Attributes:
        settings: what the proposals were made with: provider (its config) and precision (pixels).
        files: the files of the store.

    Raises:
        FileNotFoundError: nothing there.
        DamagedStoreError: a file is cut short, or its index damaged; names the images that are lost.
        ValueError: the files were made with different settings.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.files = [StoreFile(file) for file in _find(self.path)]
        self.settings = self.files[0].settings
        for file in self.files:
            if as_json(file.settings) != as_json(self.settings):
                raise ValueError(
                    f'{file.path} and {self.files[0].path} were made with different settings:\n'
                    f'{as_json(file.settings)}\n{as_json(self.settings)}\nKeep them in different folders'
                )

    @classmethod
    def open(cls, path: str | Path) -> 'ProposalStore':
        """The store in a file or folder."""
        return cls(path)

    @staticmethod
    def write(
        path: str | Path,
        settings: dict | None = None,
        precision: float = PRECISION,
        append: bool = False,
    ) -> ProposalWriter:
        """A writer of one file; see :class:`densecl.proposals.ProposalWriter`."""
        return ProposalWriter(path, settings, precision, append)

    def __len__(self) -> int:
        return sum(len(file) for file in self.files) - sum(map(len, self._repeats))

    def __contains__(self, image_id: str) -> bool:
        return self._find(image_id) is not None

    def __iter__(self) -> Iterator[str]:
        """All image ids, each once, file by file in the order of their bytes."""
        for file, repeats in zip(self.files, self._repeats, strict=True):
            yield from (name for i, name in enumerate(file.names) if i not in repeats)

    def __getitem__(self, image_id: str) -> Proposals:
        """The proposals of an image.

        Raises:
            MissingProposalsError: it is not in the store (a KeyError).
            DamagedStoreError: its record was changed since it was written.
        """
        found = self._find(image_id)
        if found is None:
            raise MissingProposalsError(self._missing(image_id))
        file, position = found
        return decode(file.record(position))

    def __call__(self, image: np.ndarray, image_id: str) -> Proposals:
        """The same; the image is not looked at."""
        return self[image_id]

    def verify(self) -> None:
        """Read everything; DamagedStoreError names the first file with damage and the images lost."""
        for file in self.files:
            file.verify()

    @cached_property
    def _repeats(self) -> list[set[int]]:
        """Of each file, the positions of images that a file before it has."""
        hashes = np.sort(np.concatenate([file.names.hashes for file in self.files]))
        common = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
        seen, repeats = set(), []
        for file in self.files:
            # names are looked at only where their hashes are equal
            positions = file.names.positions[np.isin(file.names.hashes, common)].tolist()
            names = {file.names[i]: i for i in positions}
            repeats.append({i for name, i in names.items() if name in seen})
            seen |= names.keys()
        return repeats

    def _find(self, image_id: str) -> tuple[StoreFile, int] | None:
        for file in self.files:
            position = file.names.find(image_id)
            if position is not None:
                return file, position
        return None

    def _missing(self, image_id: str) -> str:
        text = f'image {image_id!r} is not in the proposal store {self.path} ({len(self)} images'
        some = next(iter(self), None)
        text += f', e.g. {some!r}).' if some is not None else ').'
        logs = sorted(file.name for file in _folder(self.path).glob(f'*{SUFFIX}.log'))
        if logs:
            return f'{text} {", ".join(logs)} in it is unfinished: run tools/make_proposals.py again'
        return (
            f'{text} Run tools/make_proposals.py over this data source with --out {_folder(self.path)}, '
            'which adds what is missing; ids start below data_root, which must be the same folder'
        )


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _find(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(path.glob(f'*{SUFFIX}')) if path.is_dir() else []
    if not files:
        raise FileNotFoundError(
            f'ProposalStore: there is no file {path} and no *{SUFFIX} in such a folder; '
            'tools/make_proposals.py SOURCE --out FOLDER makes one'
        )
    return files
