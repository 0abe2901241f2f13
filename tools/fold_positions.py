#!/usr/bin/env python
"""Take the directions that RASA found out of a backbone: ``python tools/fold_positions.py CHECKPOINT``.

What it writes is a checkpoint whose backbone ends in a 1x1 convolution, the product of all projections:
``densecl probe`` and ``densecl export --to mmdet`` read it as they read any other. With --photos it says how
well a linear function reads row and column off a cell, before and after, on crops of photos that it was not
fitted to.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import densecl.compat

densecl.compat.install()

from mmengine.registry import init_default_scope  # noqa: E402

from densecl.datasets import decode_image  # noqa: E402
from densecl.evaluation.features import FrozenEncoder, dense_features, load_encoder  # noqa: E402
from densecl.evaluation.positions import position_fit  # noqa: E402
from densecl.files import atomic_write  # noqa: E402
from densecl.runs.checks import find_photos  # noqa: E402
from densecl.transfer import read_weights  # noqa: E402
from densecl.transfer.positions import without_positions  # noqa: E402


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a pretraining with a PositionPredictor')
    parser.add_argument('--head', help='its name in model.heads; the first by default')
    parser.add_argument('--out', help='default: beside the checkpoint, <name>_folded.pth')
    parser.add_argument('--photos', help='folder of photos by which position is measured')
    parser.add_argument('--size', type=int, nargs=2, default=(224, 224), metavar=('H', 'W'), help='in pixels')
    parser.add_argument('--count', type=int, default=200, help='of the photos, half to fit, half to judge')
    return parser.parse_args()


def main() -> None:
    """Fold, write, measure."""
    args = parse_args()
    init_default_scope('densecl')
    checkpoint = Path(args.checkpoint)
    folded, rounds, level = without_positions(read_weights(checkpoint), args.head)
    out = Path(args.out or checkpoint.with_name(f'{checkpoint.stem}_folded.pth'))
    with atomic_write(out) as temporary:
        torch.save(folded, temporary)
    print(f'{out}: the directions of {rounds} rounds are taken out')
    if args.photos:
        for title, path in (('before', checkpoint), ('after', out)):
            rows, columns = measured(load_encoder(path), level, args)
            print(f'{title:<6} R^2 of a linear prediction: row {rows:.3f}, column {columns:.3f}')


def measured(encoder: FrozenEncoder, level: int, args: argparse.Namespace) -> tuple[float, float]:
    """:func:`position_fit` of every second photo, by the others."""
    paths = sorted(find_photos([args.photos]))
    paths = paths[:: max(1, len(paths) // args.count)][: args.count]
    if len(paths) < 4:
        raise SystemExit(f'fold_positions: {args.photos} has {len(paths)} photos; give 4 or more')
    rng = np.random.default_rng(0)
    maps = dense_features(encoder, (crop(path, args.size, rng)[None] for path in paths), level)
    return position_fit(maps[::2], maps[1::2])


def crop(path: Path, size: tuple[int, int], rng: np.random.Generator) -> torch.Tensor:
    """(H, W, 3) uint8, of a random place, mirrored in half: what stands where in photos says less."""
    import cv2

    image = decode_image(path)
    part = [round(side * rng.uniform(0.5, 1)) for side in image.shape[:2]]
    y, x = (rng.integers(whole - side + 1) for whole, side in zip(image.shape, part, strict=False))
    image = image[y : y + part[0], x : x + part[1]]
    resized = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return torch.from_numpy(resized[:, ::-1].copy() if rng.random() < 0.5 else resized)


if __name__ == '__main__':
    main()
