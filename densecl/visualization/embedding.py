"""Mean cells of photos for TensorBoard's projector, which shows them in two or three dimensions."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from densecl.files import atomic_write

from .backends import check_installed

_SIDE = 64  # of a thumbnail in pixels


def check_embedding() -> None:
    """Tell what is missing before features are made.

    Raises:
        ImportError: TensorBoard is not installed.
    """
    check_installed('tensorboard', '--embedding')


def write_embedding(
    folder: str | Path, vectors: Mapping[str, Tensor], photos: Sequence[np.ndarray], names: Sequence[str]
) -> Path:
    """Write the projector's files, a tag a network, and the same vectors as ``embedding.csv``.

    ``tensorboard --logdir FOLDER`` opens them.

    Args:
        folder: to write to.
        vectors: (N, C) of each network by its name; C may differ.
        photos: N uint8 (H, W, 3), whose middles become thumbnails.
        names: of the photos.

    Returns:
        The folder.
    """
    from torch.utils.tensorboard import SummaryWriter

    labels = [re.sub(r'[\t\r\n]', ' ', name) for name in names]  # which would be columns and rows
    thumbnails = torch.from_numpy(np.stack([_thumbnail(photo) for photo in photos]))
    thumbnails = thumbnails.permute(0, 3, 1, 2).float() / 255
    with SummaryWriter(str(folder)) as writer:
        for tag, rows in vectors.items():
            writer.add_embedding(rows.float().cpu(), metadata=labels, label_img=thumbnails, tag=tag)
    _write_csv(Path(folder) / 'embedding.csv', vectors, names)
    return Path(folder)


def _thumbnail(photo: np.ndarray) -> np.ndarray:
    """The square in the middle, small."""
    side = min(photo.shape[:2])
    top, left = ((length - side) // 2 for length in photo.shape[:2])
    return cv2.resize(
        photo[top : top + side, left : left + side], (_SIDE, _SIDE), interpolation=cv2.INTER_AREA
    )


def _write_csv(path: Path, vectors: Mapping[str, Tensor], names: Sequence[str]) -> None:
    with atomic_write(path) as temporary, open(temporary, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['network', 'photo', *range(max(rows.shape[1] for rows in vectors.values()))])
        for tag, rows in vectors.items():
            writer.writerows([tag, name, *row] for name, row in zip(names, rows.tolist(), strict=True))
