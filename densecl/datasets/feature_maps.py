"""Features of a network for whole images, on disk: a teacher runs once per image, not at every step."""

import shutil
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from densecl.files import atomic_write, write_json
from densecl.inputs import read_json

LARGEST = torch.finfo(torch.float16).max
_MAPS, _INDEX = 'maps.npy', 'index.json'


class FeatureMaps:
    """A feature map (C, h, w) float16 for each image id; only the requested maps are read.

    Args:
        folder: folder that :func:`write_maps` wrote.

    Raises:
        FileNotFoundError: it has no maps.
        ValueError: the file of the maps is cut short.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / _INDEX).is_file():
            raise FileNotFoundError(
                f'{self.folder} has no feature maps ({_INDEX}), or their writing was cut off; make them: '
                'python tools/make_maps.py CONFIG, with the settings of this training'
            )
        index = read_json(self.folder / _INDEX, 'the index of feature maps')
        known = isinstance(index, dict) and {'teacher', 'made'} <= index.keys()
        if not known or not isinstance(index.get('image_ids'), list):
            raise ValueError(f'{self.folder / _INDEX} is no index of feature maps; make it again')
        self.record: dict[str, Any] = index['teacher']
        self.made: dict[str, Any] = index['made']
        self._rows = {str(name): row for row, name in enumerate(index['image_ids'])}
        if not len(self._array) == len(self._rows) == len(index['image_ids']):
            raise ValueError(
                f'{self.folder}: {_INDEX} names {len(self._rows)} images, {_MAPS} has {len(self._array)}; '
                'make both again with tools/make_maps.py'
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a map."""
        return self._array.shape[1:]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, image_id: str) -> Tensor:
        if image_id not in self._rows:
            raise ValueError(
                f'{self.folder} has no map of image {image_id!r}: it was made of other images; make it again '
                'with tools/make_maps.py'
            )
        return torch.from_numpy(self._array[self._rows[image_id]].copy())

    @cached_property
    def _array(self) -> np.ndarray:
        try:
            array = np.lib.format.open_memmap(self.folder / _MAPS, mode='r')
            if array.ndim != 4 or array.dtype != np.float16:
                raise ValueError(f'an array of shape {array.shape} ({array.dtype})')
            return array
        except Exception as error:  # a header is the text of a Python dict; its parser raises many types
            said = ' '.join(str(error).split())
            raise ValueError(
                f'{self.folder / _MAPS} cannot be read ({said}); make it again with tools/make_maps.py'
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        # Do not pickle the memory map: this would copy all maps.
        return {name: value for name, value in self.__dict__.items() if name != '_array'}


def write_maps(
    folder: str | Path,
    image_ids: list[str],
    batches: Iterable[Tensor],
    shape: tuple[int, int, int],
    record: dict[str, Any],
    made: dict[str, Any] | None = None,
) -> None:
    """Write the maps of images, batch by batch; older maps in the folder are deleted first.

    Values beyond float16's range become its largest number.

    Args:
        folder: output folder; created if missing.
        image_ids: N names.
        batches: (B, C, h, w) each, N maps in total, in the order of the names.
        shape: C, h and w.
        record: the network: name, origin, licence.
        made: settings of the target that made the maps.

    Raises:
        OSError: the disk has too little space; this is checked before the first batch is made.
        ValueError: two images have the same name, or the numbers of maps and images differ.
    """
    if (names := len(set(image_ids))) < len(image_ids):
        raise ValueError(f'{folder}: {len(image_ids)} images have {names} names; each needs its own')
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (_INDEX, _MAPS):
        (folder / name).unlink(missing_ok=True)
    size, free = len(image_ids) * int(np.prod(shape)) * 2, shutil.disk_usage(folder).free
    if size > free:
        raise OSError(f'{folder}: the maps need {size / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free')
    with atomic_write(folder / _MAPS) as temporary:
        array = np.lib.format.open_memmap(temporary, 'w+', np.float16, (len(image_ids), *shape))
        row = 0
        for batch in batches:
            array[row : row + len(batch)] = batch.clamp(-LARGEST, LARGEST).half().cpu().numpy()
            row += len(batch)
        if row != len(image_ids):
            raise ValueError(f'{folder}: {len(image_ids)} images, but {row} maps were made')
        array.flush()
    write_json(folder / _INDEX, dict(teacher=record, made=made, image_ids=image_ids), None)
