"""The json that SoCo publishes its proposals in.

A dict: the image's file name without folder and extension -> a list of ``[x, y, w, h]``, whole numbers. x
and y are the first pixel's, and w and h lead from it to the last pixel's, so that both are one less than
the number of pixels. Here a box ends behind its last pixel: x2 = x + w + 1. (SoCo's training takes
x + w - 1.) The sizes of the images are not in it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from densecl.files import atomic_write
from densecl.inputs import read_json
from densecl.registry import PROPOSALS
from densecl.structures import Proposals

from .errors import MissingProposalsError
from .table import Table


@PROPOSALS.register_module()
class SocoJson:
    """SoCo's published proposals, found by the file name without folder and extension.

    The boxes are in pixels of the photo at full size, so this provider needs the full photo:
    ``tools/make_proposals.py SOURCE --from-soco FILE`` shows it each and makes a store, which is smaller
    and loads at once.

    Args:
        ann_file: the json.

    Attributes:
        needs_full_size: True.

    Raises:
        ValueError: the file is not of that form.
    """

    needs_full_size = True
    reads_pixels = False

    def __init__(self, ann_file: str | Path) -> None:
        self.ann_file = Path(ann_file).expanduser()
        self._table = Table.of(_read(self.ann_file))

    def __len__(self) -> int:
        return len(self._table)

    def __call__(self, image: np.ndarray, image_id: str) -> Proposals:
        """The proposals of an image; MissingProposalsError, a KeyError, if the file does not have it."""
        try:
            boxes = self._table[stem(image_id)].boxes
        except KeyError:
            raise MissingProposalsError(
                f'image {image_id!r} is not among the {len(self)} images of {self.ann_file}, which has '
                f'names such as {next(iter(self._table), None)!r}'
            ) from None
        return Proposals(boxes, image.shape[:2])


def stem(image_id: str) -> str:
    """The file name without folder and extension (all that follows the last dot)."""
    name = image_id.rpartition('/')[2]
    return name.rpartition('.')[0] or name


def _read(file: Path) -> Iterator[tuple[str, Proposals]]:
    content = read_json(file, "SoCo's proposals")
    if not isinstance(content, dict):
        raise ValueError(f'SocoJson: {file} must hold a dict, name -> boxes, got {type(content).__name__}')
    for name, rects in content.items():
        try:
            boxes = np.array([rect[:4] for rect in rects], np.float64).reshape(len(rects), 4)
        except (ValueError, TypeError, KeyError, OverflowError):
            boxes = np.full((1, 4), np.nan)
        if not (np.abs(boxes) < 1e9).all() or (boxes[:, 2:] < -1).any():
            raise ValueError(
                f'SocoJson: {file}: {name!r} must be a list of [x, y, w, h], got {str(rects):.60}'
            )
        boxes[:, 2:] += boxes[:, :2] + 1
        yield name, Proposals(boxes, (0, 0))


def write_soco(proposals: Mapping[str, Proposals], path: str | Path) -> None:
    """Write proposals as SoCo does: whole pixels; scores, masks and sizes are lost.

    Args:
        proposals: image id -> Proposals; a store, or any other mapping.
        path: of the json.

    Raises:
        ValueError: two image ids differ only in what is left out, folder and extension.
    """
    names = {}
    with atomic_write(path) as temporary, open(temporary, 'w') as file:
        file.write('{')
        for index, image_id in enumerate(proposals):
            name = stem(image_id)
            if name in names:
                raise ValueError(
                    f"SoCo's json knows file names only: {names[name]!r} and {image_id!r} are the same there"
                )
            names[name] = image_id
            boxes = np.rint(proposals[image_id].boxes).astype(int)
            boxes[:, 2:] -= boxes[:, :2] + 1
            file.write(',' * bool(index) + f'\n{json.dumps(name)}: {json.dumps(boxes.tolist())}')
        file.write('}\n')
