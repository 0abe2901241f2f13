"""Reads and checks a user's folders of images and label maps before the training."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from densecl.datasets.decode import open_map
from densecl.datasets.sensor import load_bands
from densecl.datasets.sources.folder import walk
from densecl.files import write_text
from densecl.visualization.canvas import colors

from .data import VAL_SHARE, LabelledData, Split, few, set_apart, size_as_read, some_of

IGNORE = 255
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp', '.npy', '.dcm')
_READ = 2000  # largest number of label maps whose ids are counted


def read_label_maps(
    root: Path, out: Path, val: Path | None, images: Path | None, share: float = 1.0
) -> LabelledData:
    """See :func:`densecl.finetune.data.read_data`."""
    train_pair = _folders(root, images, 'train')
    val_pair = _folders(val, images, 'val') if val else _folders(root, images, 'val', train_pair)
    suffix, train_names = _pairs(*train_pair)
    notes = []
    if train_pair == val_pair:
        if len(train_names) < 2:
            raise ValueError(f'{root}: one image cannot be divided into training and validation')
        apart = set_apart(train_names)
        val_names = [name for name in train_names if name in apart]
        train_names = [name for name in train_names if name not in apart]
        notes.append(f'{VAL_SHARE:.0%} of the images set apart for validation, by a hash of their names')
    else:
        val_suffix, val_names = _pairs(*val_pair)
        if val_suffix != suffix:
            raise ValueError(f'{val_pair[0]}: its images end in {val_suffix}, those for training in {suffix}')
        notes.append(f'validation on {val_pair[0]}')
    if share < 1:
        total, train_names = len(train_names), some_of(train_names, share)
        notes.append(f'{len(train_names)} of {total} training images are learned from: a share of {share:g}')
    train = _split(out / 'densecl-train.txt', train_names, *train_pair, suffix)
    held = _split(out / 'densecl-val.txt', val_names, *val_pair, suffix)
    maps = [train.labels / f'{name}.png' for name in train_names]
    maps += [held.labels / f'{name}.png' for name in val_names]
    some = maps[:: -(-len(maps) // _READ)]
    ids = set().union(*(_ids(path) for path in some))
    names, palette, source = _named(root)
    if ids == {0, IGNORE}:  # is it so in all of them?
        some, ids = maps, set().union(*map(_ids, maps))
    if ids == {0, IGNORE} and (names is None or len(names) == 2):
        ids, masks = {0, 1}, out / 'densecl-labels'
        train = replace(train, labels=_as_ids(train.labels, train_names, masks / 'train'))
        held = replace(held, labels=_as_ids(held.labels, val_names, masks / 'val'))
        notes.append(f'the label maps hold 0 and {IGNORE} only: {IGNORE} is class 1 (copies in {masks})')
    elif len(some) < len(maps):
        notes.append(f'class ids seen in {len(some)} of {len(maps)} label maps')
    classes, said = _classes(root, sorted(ids - {IGNORE}), names, source)
    palette = palette or _colours(maps[0], len(classes))
    return LabelledData('semantic', train, held, classes, palette, (suffix, '.png'), notes + said)


def _as_ids(labels: Path, names: list[str], out: Path) -> Path:
    """Copies of masks of 0 and 255 with 0 and 1, in ``out``; returns their folder."""
    for name in names:
        copy = out / f'{name}.png'
        copy.parent.mkdir(parents=True, exist_ok=True)
        with open_map(labels / f'{name}.png') as label:
            Image.fromarray((np.asarray(label) == IGNORE).astype(np.uint8)).save(copy)
    return out.resolve()


def _folders(
    root: Path, images: Path | None, split: str, otherwise: tuple[Path, Path] | None = None
) -> tuple[Path, Path]:
    """Folders of images and maps: ``images/train`` if it exists, else ``otherwise`` or ``images``."""
    pair = images or root / 'images', root / 'labels'
    for folder in pair:
        if not folder.is_dir():
            raise FileNotFoundError(
                f'{root}: no folder {folder}; expected images/ and labels/, '
                'with a PNG of class ids for each image'
            )
    parts = pair[0] / split, pair[1] / split
    if all(part.is_dir() for part in parts):
        return parts[0].resolve(), parts[1].resolve()
    return otherwise or (pair[0].resolve(), pair[1].resolve())


def _pairs(images: Path, labels: Path) -> tuple[str, list[str]]:
    """The common suffix of the images, and the names (relative, without suffix) that both folders have."""
    files = sorted(images / name for name in walk(images) if name.lower().endswith(SUFFIXES))
    suffixes = Counter(path.suffix for path in files)
    if not files:
        raise ValueError(f'{images}: no image in it; expected files that end in {", ".join(SUFFIXES)}')
    if len(suffixes) > 1:
        raise ValueError(
            f'{images}: images end in {few(sorted(suffixes))}; mmseg takes one suffix: convert them'
        )
    names = [path.relative_to(images).with_suffix('').as_posix() for path in files]
    if odd := [name for name in names if name != name.strip() or len(name.splitlines()) > 1]:
        raise ValueError(f'{images}: {odd[0]!r} begins or ends with a blank, or has a line break; rename it')
    bare = [name for name in names if not (labels / f'{name}.png').is_file()]
    if bare:
        raise FileNotFoundError(f'{labels}: no label map for {few(bare)}; expected {bare[0]}.png')
    return next(iter(suffixes)), names


def _split(list_file: Path, names: list[str], images: Path, labels: Path, suffix: str) -> Split:
    sizes = []
    for name in names:
        size = _size(images / f'{name}{suffix}')
        with open_map(labels / f'{name}.png', pixels=False) as label:
            if size != label.size:
                raise ValueError(f'{label.filename}: {label.size} pixels, but its image is read with {size}')
            if label.mode not in ('L', 'P', '1', 'I', 'I;16'):
                raise ValueError(f'{label.filename}: {label.mode} colours; expected one channel of class ids')
            sizes.append(size)
    write_text(list_file, '\n'.join(names) + '\n')
    return Split(list_file.resolve(), images, labels, sizes)


def _size(path: Path) -> tuple[int, int]:
    """Width and height; if Pillow does not know the format, the whole image is read."""
    return size_as_read(path) or load_bands(path, str(path)).pixels.shape[1::-1]


def _classes(
    root: Path, ids: list[int], names: tuple | None, source: Path | None
) -> tuple[tuple[str, ...], list[str]]:
    """The names that a file gives, otherwise one for each id that the maps hold; and what to tell."""
    notes = []
    if not ids:
        raise ValueError(f'{root}/labels: every pixel is {IGNORE} (ignored); expected class ids from 0')
    if names is None:
        if ids != list(range(len(ids))):
            gaps = sorted(set(range(ids[-1])) - set(ids))
            raise ValueError(
                f'{root}/labels: the class ids jump: {few(ids)}, none has {few(gaps)}; name every class in '
                f'{root}/classes.txt, one a line in the order of the ids, or renumber the maps'
            )
        names = tuple(f'class_{number}' for number in ids)
        notes.append(f'{len(names)} class ids counted; write {root}/classes.txt to name them')
    elif ids[-1] >= len(names):
        raise ValueError(f'{root}/labels: class id {ids[-1]}, but {source} names {len(names)} classes from 0')
    if len(names) < 2:
        raise ValueError(
            f'{root}/labels: one class is nothing to learn; expected two or more ({IGNORE} is ignored)'
        )
    return names, notes


def _ids(path: Path) -> set[int]:
    with open_map(path) as label:
        return set(np.unique(np.asarray(label, dtype=np.int64)).tolist())


def _named(root: Path) -> tuple[tuple | None, tuple | None, Path | None]:
    """Names and colours from the files of the folder; None if there are none."""
    meta, listed = root / 'meta.json', root / 'classes.txt'
    if meta.is_file():
        try:
            content = json.loads(meta.read_text())
            names, palette = tuple(content['classes']), content.get('palette')
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{meta}: expected {{"classes": [...], "palette": [...]}} ({error})') from None
        if palette is not None and len(palette) != len(names):
            raise ValueError(f'{meta}: {len(palette)} colours in "palette" for {len(names)} classes')
        return names, palette and tuple(tuple(color) for color in palette), meta
    if listed.is_file():
        names = tuple(line.strip() for line in listed.read_text().splitlines() if line.strip())
        if not names:
            raise ValueError(f'{listed}: empty; expected one class name a line')
        return names, None, listed
    return None, None, None


def _colours(label_map: Path, count: int) -> tuple[tuple[int, int, int], ...]:
    """Colours of a palette PNG; otherwise bright colours."""
    with open_map(label_map, pixels=False) as image:
        palette = image.getpalette() if image.mode == 'P' else None
    if palette and len(palette) >= 3 * count:
        return tuple(tuple(palette[3 * i : 3 * i + 3]) for i in range(count))
    return tuple(tuple(map(int, color)) for color in colors(count))
