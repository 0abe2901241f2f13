"""Boxes of COCO json files: ground truth, SAM's masks, the results of any detector."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from densecl.files import atomic_write
from densecl.messages import check_choice
from densecl.registry import PROPOSALS
from densecl.structures import Proposals

from .coco_reader import read_coco
from .errors import MissingProposalsError
from .table import Table


@PROPOSALS.register_module()
class CocoBoxes:
    """What COCO json files say of an image, found by ``file_name``; boxes in pixels of the original.

    A file may be an annotation file (``images``, ``annotations``), a results list of a detector (then
    ``images`` names the file that says which image has which id), or one image of SA-1B (``image``,
    ``annotations``). They are kept in a few arrays: 16 bytes a box. Millions of images open faster from a
    store: ``tools/make_proposals.py --from-coco``.

    Args:
        ann_file: a json, a list of them, or a folder whose ``*.json`` are taken.
        images: an annotation file that has ``images``, for results lists.
        masks: keep the segmentations too. Polygons need pycocotools.
        min_score: leave out boxes of a lower ``score`` (``predicted_iou`` of SAM); those without pass.
        crowd: take annotations with ``iscrowd`` too.
        by: ``path``: an image's id is its ``file_name``. ``name``: they agree in the last part, after all
            slashes.

    Raises:
        ValueError: a file is not such a json; names file and entry.
    """

    reads_pixels = False

    def __init__(
        self,
        ann_file: str | Path | list,
        images: str | Path | None = None,
        masks: bool = False,
        min_score: float | None = None,
        crowd: bool = False,
        by: str = 'path',
    ) -> None:
        check_choice('CocoBoxes: by', by, ('path', 'name'))
        self.ann_file, self.by = ann_file, by
        found = read_coco(_files(ann_file), images, masks, min_score, crowd)
        self._table = Table.of(_renamed(found, self._key, ann_file))

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self):
        """The images' names."""
        return iter(self._table)

    def __getitem__(self, image_id: str) -> Proposals:
        """The proposals of an image; MissingProposalsError, a KeyError, if the files do not list it."""
        try:
            return self._table[self._key(image_id)]
        except KeyError:
            example = next(iter(self._table), None)
            raise MissingProposalsError(
                f'image {image_id!r} is not among the {len(self)} images of {self.ann_file}, e.g. '
                f'{example!r}. ' + ("With by='name' folders do not count" if self.by == 'path' else '')
            ) from None

    def __call__(self, image: np.ndarray, image_id: str) -> Proposals:
        """The same; the image is not looked at."""
        return self[image_id]

    def _key(self, name: str) -> str:
        return name if self.by == 'path' else name.rpartition('/')[2]


def _files(ann_file: str | Path | list) -> list[Path]:
    files = [Path(f).expanduser() for f in (ann_file if isinstance(ann_file, list) else [ann_file])]
    if len(files) == 1 and files[0].is_dir():
        found = sorted(files[0].glob('*.json'))
        if not found:
            raise FileNotFoundError(f'CocoBoxes: there is no *.json in the folder {files[0]}')
        return found
    return files


def _renamed(found: Mapping[str, Proposals], key: Callable[[str], str], ann_file):
    """The items under their keys, which must differ."""
    before = {}
    for name, proposals in found.items():
        other = before.setdefault(key(name), name)
        if other != name:
            raise ValueError(f"CocoBoxes: by='name' confuses {other!r} and {name!r} of {ann_file}")
        yield key(name), proposals


def write_coco(proposals: Mapping[str, Proposals], path: str | Path) -> None:
    """Write proposals as a COCO annotation file of one category, ``object``.

    Args:
        proposals: image id (``file_name`` there) -> Proposals; a store, or any other mapping.
        path: of the json; written image by image, so that a large store need not fit into memory.
    """
    number = 0
    with atomic_write(path) as temporary, open(temporary, 'w') as file:
        file.write('{"images": [')
        for index, name in enumerate(proposals):
            height, width = proposals[name].size
            image = dict(id=index + 1, file_name=name, width=width, height=height)
            file.write(',' * bool(index) + '\n' + json.dumps(image))
        file.write('],\n"annotations": [')
        for index, name in enumerate(proposals):
            for entry in _annotations(proposals[name]):
                head = dict(id=number + 1, image_id=index + 1, category_id=1)
                file.write(',' * bool(number) + '\n' + json.dumps(head | entry))
                number += 1
        file.write('],\n"categories": [{"id": 1, "name": "object"}]}\n')


def _annotations(proposals: Proposals):
    boxes = proposals.boxes.astype(float)
    boxes[:, 2:] -= boxes[:, :2]
    for i, box in enumerate(boxes.tolist()):
        entry = dict(bbox=box, area=box[2] * box[3], iscrowd=0)
        if proposals.scores is not None:
            entry['score'] = float(proposals.scores[i])
        if proposals.masks is not None:
            mask = proposals.masks[i]
            entry['segmentation'] = dict(size=list(mask['size']), counts=mask['counts'].decode())
        yield entry
