#!/usr/bin/env python
"""Draw matches.png, the head of the README: cells that PixPro's rule matches, and where they truly lie.

python docs/images/matches.py
"""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from densecl import visualization as vis
from densecl.datasets import SampleKey
from densecl.models.matching import match_by_location
from densecl.registry import DATASETS
from densecl.sample import sample_root
from densecl.visualization.canvas import resized

GRID, HEIGHT = (7, 7), 156
#: (photo of the bundled sample, epoch whose views are drawn)
CHOSEN = ((6, 5), (73, 8))


def main() -> None:
    """Write the picture beside this file."""
    init_default_scope('densecl')
    views = Config.fromfile(Path(__file__).parents[2] / 'configs/_base_/views/mocov2.py').views
    pipeline = [dict(type='MultiView', photometric_on='worker', views=views)]
    root = str(sample_root() / 'detection/train')
    dataset = DATASETS.build(dict(type='PretrainDataset', data_root=root, pipeline=pipeline))
    originals = []
    dataset.transforms.insert(0, lambda results: originals.append(results['image']) or results)
    rows = []
    for index, epoch in CHOSEN:
        rows.append(row(dataset[SampleKey(epoch, index)], originals.pop()))
    vis.save_image(Path(__file__).with_suffix('.png'), vis.stacked(rows, gap=12))


def row(sample, original: np.ndarray) -> np.ndarray:
    """The photo with its crops, the views with their matches, and with where the cells truly lie."""
    views = [view.numpy() for view in sample.images]
    boxes, flipped = torch.as_tensor(sample.boxes).float(), torch.as_tensor(sample.flipped)
    shares = boxes / torch.tensor([*sample.source_size[::-1]] * 2)
    match = match_by_location(shares[:1], flipped[:1], GRID, shares[1:], flipped[1:], GRID, 0.7)[0]
    lies = vis.true_locations(boxes, flipped, GRID)
    cells = spread((match.any(1) & ((lies - 0.5).abs() < 0.45).all(1)).nonzero()[:, 0])
    photo = resized(original, HEIGHT).copy()
    for box, color in zip(shares, vis.colors(2), strict=True):
        x1, y1, x2, y2 = (box * torch.tensor([photo.shape[1], photo.shape[0]] * 2)).round().int().tolist()
        cv2.rectangle(photo, (x1, y1), (x2 - 1, y2 - 1), [int(c) for c in color], 2)
    text = ('a photo and its two views', 'cells that are matched', 'where these cells truly lie')
    tiles = [
        photo,
        vis.draw_matches(*views, match, GRID, GRID, cells, HEIGHT),
        vis.draw_true_locations(*views, boxes, flipped, GRID, cells, HEIGHT),
    ]
    return vis.side_by_side([vis.titled(*each) for each in zip(tiles, text, strict=True)], gap=16)


def spread(cells: torch.Tensor, count: int = 7) -> list[int]:
    """Some of the cells, each as far as can be from those before it."""
    places = torch.stack([cells // GRID[1], cells % GRID[1]], 1).float()
    chosen = [0]
    for _ in range(count - 1):
        chosen.append(int(torch.cdist(places, places[chosen]).min(1).values.argmax()))
    return cells[chosen].tolist()


if __name__ == '__main__':
    main()
