"""Reads and checks a user's COCO json files before the training."""

from collections.abc import Collection
from pathlib import Path

from densecl.coco import box_of, check_segmentation, crowd_of, cut, number_of, objects, size_of, text_of
from densecl.datasets.sources.base import joined
from densecl.evaluation.labelled_coco import image_root
from densecl.files import write_json
from densecl.inputs import read_json
from densecl.visualization.canvas import colors

from .data import VAL_SHARE, LabelledData, Split, few, set_apart, size_as_read, some_of

TRAIN, VAL = 'densecl-train.json', 'densecl-val.json'  # --out may hold the user's own train.json
_LISTS = ('images', 'annotations', 'categories')
_READ = 2000  # largest number of images whose size is compared with the json's


def read_coco_data(
    path: Path,
    out: Path,
    val: Path | None,
    images: Path | None,
    task: str | None,
    share: float = 1.0,
    class_agnostic: bool = False,
) -> LabelledData:
    """See :func:`densecl.finetune.data.read_data`."""
    coco, changed = read_coco(path)
    task, notes = _task(coco, path, task)
    said = _left_out(coco, path)
    val = val or _beside(path)
    folder = image_folder(coco, path, images)
    if val is not None:
        val_coco, val_changed = read_coco(val)
        _task(val_coco, val, task)
        _left_out(val_coco, val)
        val_folder = image_folder(val_coco, val, images)
        notes.append(f'validation on {val}{val_changed}')
        if val_changed:
            val = write_json(out / VAL, val_coco, None)
    else:
        coco, val_coco = _divide(coco, path)
        val_folder = folder
        path, val = write_json(out / TRAIN, coco, None), write_json(out / VAL, val_coco, None)
        for part, name in ((coco, path), (val_coco, val)):
            _left_out(part, name)
        notes.append(
            f'{VAL_SHARE:.0%} of the images set apart for validation, by a hash of their names: {val}'
        )
    if changed:
        notes.append(f'{path}{changed}')
        path = write_json(out / TRAIN, coco, None)
    if class_agnostic:
        coco, val_coco = _of_one_class(coco), _of_one_class(val_coco)
        path, val = write_json(out / TRAIN, coco, None), write_json(out / VAL, val_coco, None)
        notes.append("all categories are learned as one, 'object'")
    if share < 1:
        total = len(coco['images'])
        coco = _images_of(coco, some_of((row['file_name'] for row in coco['images']), share))
        if not coco['annotations']:
            raise ValueError(f'{path}: a share of {share:g} of its images has no object; take a larger one')
        path = write_json(out / TRAIN, coco, None)
        notes.append(
            f'{len(coco["images"])} of {total} training images are learned from: a share of {share:g}'
        )
    classes = _classes(coco, path)
    if _classes(val_coco, val) != classes:
        raise ValueError(
            f'{val}: its categories differ from those of {path}; both need the same, in one order'
        )
    return LabelledData(
        task=task,
        train=_split(coco, path, folder),
        val=_split(val_coco, val, val_folder),
        classes=classes,
        palette=tuple(tuple(map(int, color)) for color in colors(len(classes))),
        notes=notes + said,
    )


def read_coco(path: Path) -> tuple[dict, str]:
    """The content of a COCO json, and whether it was changed, as a sentence for the user; empty if not.

    Polygons with fewer than 3 points are left out; objects that have only such polygons, too. ``area`` and
    ``iscrowd``, which mmdet and pycocotools want, are added where they are missing: the area of the box, 0.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no JSON, a list or field is missing or of another type, or ids do not agree.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such COCO json')
    coco = read_json(path, 'COCO annotations', nan=True)
    for name in _LISTS:
        rows = coco.get(name) if isinstance(coco, dict) else None
        if not isinstance(rows, list) or not rows:
            raise ValueError(f'{path}: the list "{name}" is missing or empty; expected COCO annotations')
        objects(rows, name.removesuffix('s'), path)
    _check_ids(coco, path)
    sizes = {}
    for position, row in enumerate(coco['images']):
        text_of(row, 'file_name', f'{path}, image {position}')
        sizes[row['id']] = size_of(row, f'{path}, image {position}')
    for row in coco['categories']:
        text_of(row, 'name', f'{path}: category {row["id"]}')
    kept, short, added = [], 0, 0
    for row in coco['annotations']:
        where = f'{path}: annotation {row["id"]}'
        box_of(row, where)
        crowd_of(row, where)
        if code := row.get('segmentation'):
            if isinstance(code, list):
                row['segmentation'] = [each for each in code if not isinstance(each, list) or len(each) >= 6]
                short += len(code) - len(row['segmentation'])
            if row['segmentation']:
                check_segmentation(row['segmentation'], sizes[row['image_id']], where)
            else:
                continue
        added += not {'area', 'iscrowd'} <= row.keys()
        row.setdefault('area', row['bbox'][2] * row['bbox'][3])
        row.setdefault('iscrowd', 0)
        kept.append(row)
    if not kept:
        raise ValueError(f'{path}: none of its masks has 3 points; correct them')
    said = f'; {short} polygons of less than 3 points are left out' if short else ''
    said += f'; {added} annotations get the missing area (of the box) or iscrowd (0)' if added else ''
    return {**coco, 'annotations': kept}, said


def _check_ids(coco: dict, path: Path) -> None:
    for name in _LISTS:
        ids = [number_of(row, 'id', f'{path}: an entry of "{name}"') for row in coco[name]]
        if len(set(ids)) < len(ids):
            raise ValueError(f'{path}: "{name}" has the same id twice; ids must be unique')
    known = {'image_id': {row['id'] for row in coco['images']},
             'category_id': {row['id'] for row in coco['categories']}}  # fmt: skip
    for row in coco['annotations']:
        for field, ids in known.items():
            if number_of(row, field, f'{path}: annotation {row["id"]}') not in ids:
                lists = {'image_id': 'images', 'category_id': 'categories'}[field]
                raise ValueError(
                    f'{path}: annotation {row["id"]} has {field} {row[field]!r}, not in "{lists}", whose '
                    f'first id is {next(iter(ids), None)!r}'
                )


def image_folder(coco: dict, path: Path, given: Path | None) -> Path:
    """The folder to which ``file_name`` is relative: the given one, or one beside the json.

    Raises:
        FileNotFoundError: images are missing.
        ValueError: a name leads out of the folder.
    """
    names = [row['file_name'] for row in coco['images']]
    try:
        folder = given or image_root(path, names[0])
    except FileNotFoundError:
        folder = path.parent
    joined(folder, names, path)
    missing = [name for name in names if not (folder / name).is_file()]
    if len(missing) == len(names):
        raise FileNotFoundError(
            f'{path}: none of its {len(names)} images ({names[0]}, ...) is in {folder} or beside it; '
            'say where they are: --images FOLDER'
        )
    if missing:
        raise FileNotFoundError(f'{path}: {len(missing)} of its images are not in {folder}: {few(missing)}')
    _check_sizes(coco, path, folder)
    return folder.resolve()


def _check_sizes(coco: dict, path: Path, folder: Path) -> None:
    rows = coco['images'][:: -(-len(coco['images']) // _READ)]
    found = [(row, size_as_read(folder / row['file_name'])) for row in rows]
    wrong = [(row, size) for row, size in found if size not in (None, (row['width'], row['height']))]
    if wrong:
        row, (width, height) = wrong[0]
        raise ValueError(
            f'{path}: image {row["file_name"]} is {row["width"]} x {row["height"]} there and {width} x '
            f'{height} as it is read ({len(wrong)} of {len(rows)} differ): boxes would be misplaced; correct '
            'width, height and boxes, or say where the images are that were labelled (--images)'
        )


def _beside(path: Path) -> Path | None:
    """Find ``instances_val.json`` beside ``instances_train.json``."""
    other = path.with_name(path.name.replace('train', 'val'))
    return other if other != path and other.is_file() else None


def _divide(coco: dict, path: Path) -> tuple[dict, dict]:
    if len(coco['images']) < 2:
        raise ValueError(f'{path}: one image cannot be divided into training and validation; give --val JSON')
    names = {row['file_name'] for row in coco['images']}
    apart = set_apart(row['file_name'] for row in coco['images'])
    train, held = _images_of(coco, names - apart), _images_of(coco, apart)
    for name, part in (('training', train), ('validation', held)):
        if not part['annotations']:
            raise ValueError(f'{path}: the images set apart for {name} have no object; give --val JSON')
    return train, held


def _images_of(coco: dict, names: Collection[str]) -> dict:
    """Only the images with these names, and their annotations."""
    names = set(names)
    images = [row for row in coco['images'] if row['file_name'] in names]
    ids = {row['id'] for row in images}
    return {**coco, 'images': images, 'annotations': [r for r in coco['annotations'] if r['image_id'] in ids]}


def _of_one_class(coco: dict) -> dict:
    """The same objects, all of the category ``object``."""
    rows = [{**row, 'category_id': 1} for row in coco['annotations']]
    return {**coco, 'annotations': rows, 'categories': [dict(id=1, name='object')]}


def _classes(coco: dict, path: Path) -> tuple[str, ...]:
    """Names in the order of the file, which is mmdet's order of labels."""
    names = [row['name'] for row in coco['categories']]
    if len(set(names)) < len(names):
        raise ValueError(f'{path}: two categories have the same name: {few(sorted(names))}')
    return tuple(names)


def _task(coco: dict, path: Path, task: str | None) -> tuple[str, list[str]]:
    """The task that follows from the annotations, and notes for the user."""
    total = len(coco['annotations'])
    bare = [row['id'] for row in coco['annotations'] if not row.get('segmentation')]
    if task == 'instance' and bare:
        raise ValueError(
            f'{path}: {len(bare)} of {total} annotations have no mask, the first is {bare[0]}; '
            "task 'instance' needs all of them: complete or remove these, or take task 'detection'"
        )
    if task is None and bare and len(bare) < total:
        said = (
            f'{len(bare)} of {total} annotations have no mask: the boxes are learned, the masks are not used'
        )
        return 'detection', [said]
    return task or ('detection' if bare else 'instance'), []


def _left_out(coco: dict, path: Path) -> list[str]:
    """Notes about what mmdet leaves out: boxes under one pixel, crowds, training images without objects.

    Raises:
        ValueError: nothing is left.
    """
    rows, sizes = coco['annotations'], {row['id']: (row['height'], row['width']) for row in coco['images']}
    tiny = [min(row['bbox'][2:]) < 1 for row in rows]
    crowd = [bool(row.get('iscrowd')) for row in rows]
    out = [min(row['bbox'][2:]) >= 1 and cut(row['bbox'], sizes[row['image_id']]) is None for row in rows]
    empty = len(coco['images']) - len({row['image_id'] for row in rows})
    found = (
        (sum(tiny), 'boxes under one pixel'),
        (sum(out), 'boxes outside their image'),
        (sum(crowd), 'crowds'),
        (empty, 'images without objects'),
    )
    texts = [f'{number} {name}' for number, name in found if number]
    if all(map(any, zip(tiny, crowd, out, strict=True))):
        raise ValueError(f'{path}: of its {len(rows)} objects none can be learned: {", ".join(texts)}')
    return [f'not learned from: {", ".join(texts)}'] if texts else []


def _split(coco: dict, path: Path, folder: Path) -> Split:
    sides = [
        (row['bbox'][2] * row['bbox'][3]) ** 0.5 for row in coco['annotations'] if min(row['bbox'][2:]) > 0
    ]
    sizes = [(row['width'], row['height']) for row in coco['images']]
    return Split(path.resolve(), folder, None, sizes, sides)
