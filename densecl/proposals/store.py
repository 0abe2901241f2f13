"""Proposals of many images on disk, found by image id."""

import os
from collections.abc import Iterator
from functools import cached_property
from itertools import chain, compress
from pathlib import Path

import numpy as np

from densecl.registry import PROPOSALS
from densecl.structures import Proposals

from .errors import MissingProposalsError
from .shard import Shard, check_settings
from .table import PRECISION, arrow
from .writer import ProposalWriter

SUFFIX = '.arrow'


@PROPOSALS.register_module()
class ProposalStore:
    """The proposals in a file, or in all files ``*.arrow`` of a folder, by image id.

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

    reads_pixels = False

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.files = [Shard(file) for file in _find(self.path)]
        self.settings = self.files[0].settings
        for file in self.files:
            check_settings(file.path, file.settings, self.settings)

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
        return int(np.sum(self._first))

    def __contains__(self, image_id: str) -> bool:
        return any(image_id in file for file in self.files)

    def __iter__(self) -> Iterator[str]:
        """All image ids, each once, file by file in the order of their bytes."""
        return compress(chain(*self.files), self._first)

    def __getitem__(self, image_id: str) -> Proposals:
        """The proposals of an image.

        Raises:
            MissingProposalsError: it is not in the store (a KeyError).
            DamagedStoreError: they were changed since they were written.
        """
        name = os.fsencode(image_id)
        for file in self.files:
            found = file.find(name)
            if found is not None:
                return file.read(*found)
        self.verify()  # a damaged name is not found
        raise MissingProposalsError(self._missing(image_id))

    def __call__(self, image: np.ndarray, image_id: str) -> Proposals:
        """The same; the image is not looked at."""
        return self[image_id]

    def verify(self) -> None:
        """Read everything; DamagedStoreError names the first file with damage and the images lost."""
        for file in self.files:
            file.verify()

    @cached_property
    def _first(self) -> np.ndarray:
        """Of each image of each file, whether no file before it has it: bool."""
        if len(self.files) == 1:
            return np.ones(len(self.files[0]), bool)
        pa = arrow()
        records = (batch.record for file in self.files for batch in file.batches)
        names = pa.chunked_array([record['image_id'].cast(pa.binary()) for record in records], pa.binary())
        codes = [part.indices for part in names.dictionary_encode().chunks]  # new names get rising numbers
        return np.diff(np.maximum.accumulate(np.concatenate(codes)), prepend=-1) > 0

    def _missing(self, image_id: str) -> str:
        folder, some = self.path if self.path.is_dir() else self.path.parent, next(iter(self), None)
        text = f'image {image_id!r} is not in the proposal store {self.path} ({len(self)} images'
        text += f', e.g. {some!r}).' if some is not None else ').'
        unfinished = sorted(file.name for file in folder.glob(f'*{SUFFIX}.part'))
        if unfinished:
            return f'{text} {", ".join(unfinished)} in it is unfinished: run tools/make_proposals.py again'
        return (
            f'{text} Run tools/make_proposals.py over this data source with --out {folder}, which adds what '
            'is missing; ids start below data_root, which must be the same folder'
        )


def _find(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(path.glob(f'*{SUFFIX}')) or sorted(path.glob('*.props'))  # whose format is an older one
    if not files:
        raise FileNotFoundError(
            f'ProposalStore: there is no file {path} and no *{SUFFIX} in such a folder; '
            'tools/make_proposals.py SOURCE --out FOLDER makes one'
        )
    return files
