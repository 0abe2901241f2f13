"""Sheets of what features see: a row a photo, a column a network, and a sentence that explains them."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from . import feature_maps as fm
from .canvas import (
    BLACK,
    GAP,
    WHITE,
    as_color,
    colors,
    outline,
    resized,
    side_by_side,
    stacked,
    titled,
)

Point = Sequence[float]
Maps = Mapping[str, Sequence[Tensor]]
_FOUND = 4  # neighbours in a row


def draw_components(photos: Sequence[np.ndarray], maps: Maps, height: int = 160) -> np.ndarray:
    """Principal components of the cells as colours: one basis for all photos, later networks' turned to it.

    Args:
        photos: uint8 (H, W, 3) each.
        maps: the (C, h, w) map of each photo, for each network by its name.
        height: of a photo.
    """
    scores = {name: fm.component_maps(each) for name, each in maps.items()}
    first = next(iter(scores.values()))
    scores = {name: s if s is first else fm.aligned(s, first) for name, s in scores.items()}
    columns = {
        name: [_enlarged(c, p, height) for c, p in zip(fm.component_colors(s), photos, strict=True)]
        for name, s in scores.items()
    }
    title = 'Features as colours (three principal components): one colour = alike to the network'
    return _sheet(title, [resized(p, height) for p in photos], columns)


def draw_similarity(
    photos: Sequence[np.ndarray], maps: Maps, points: Sequence[Sequence[Point]], height: int = 160
) -> np.ndarray:
    """How similar every cell is to that at each point: dark blue at a cosine of 0 or less, yellow at 1.

    Args:
        photos, maps, height: see :func:`draw_components`.
        points: those of each photo.
    """
    columns = {
        name: [
            side_by_side([_marked(_heat(fm.similarity(m, point), p, height), point) for point in each])
            for m, p, each in zip(per_photo, photos, points, strict=True)
        ]
        for name, per_photo in maps.items()
    }
    first = []
    for photo, each in zip(photos, points, strict=True):
        tile = resized(photo, height)
        for point in each:
            tile = _marked(tile, point)
        first.append(tile)
    return _sheet(
        'Similarity to the ringed place: yellow = alike (cosine 1), dark = different (0 or less)',
        first,
        columns,
    )


def draw_segments(
    photos: Sequence[np.ndarray], segments: Mapping[str, Sequence[Tensor]], height: int = 160
) -> np.ndarray:
    """Segments painted over the photos, one colour a segment in all of them.

    Args:
        photos, height: see :func:`draw_components`.
        segments: int64 (h, w) of each photo, for each network by its name.
    """
    palette = colors(1 + max(int(m.max()) for each in segments.values() for m in each))
    columns = {
        name: [_painted(m.numpy(), p, palette, height) for m, p in zip(each, photos, strict=True)]
        for name, each in segments.items()
    }
    title = f'{len(palette)} groups of similar places, found by k-means without labels: one colour, one group'
    return _sheet(title, [resized(p, height) for p in photos], columns)


def draw_nearest_images(photos: Sequence[np.ndarray], maps: Maps, rows: int, height: int = 100) -> np.ndarray:
    """The most similar of all photos, by the mean of their cells, for each of the first ``rows`` photos.

    Args:
        photos, maps, height: see :func:`draw_components`; here of all photos that are searched.
        rows: photos that neighbours are searched of.
    """
    small = [resized(p, height) for p in photos]
    columns = {
        name: [side_by_side([small[i] for i in fm.nearest_images(each, row, _FOUND)]) for row in range(rows)]
        for name, each in maps.items()
    }
    return _sheet('The most similar other photos to the network, best first', small[:rows], columns)


def draw_nearest_cells(
    photos: Sequence[np.ndarray], maps: Maps, points: Sequence[Point], height: int = 100
) -> np.ndarray:
    """The most similar places of other photos, for a point of each of the first photos.

    Args:
        photos, maps, height: see :func:`draw_nearest_images`.
        points: one for each photo that has a row.
    """
    columns = {
        name: [
            side_by_side(
                [_window(photos[i], p, height) for i, p, _ in fm.nearest_cells(each, row, point, _FOUND)]
            )
            for row, point in enumerate(points)
        ]
        for name, each in maps.items()
    }
    first = [
        side_by_side([_marked(resized(photos[row], height), point), _window(photos[row], point, height)])
        for row, point in enumerate(points)
    ]
    return _sheet(
        'The places in other photos that are most similar to the ringed one, best first', first, columns
    )


def segments_of(maps: Maps, count: int, seed: int = 0) -> dict[str, list[Tensor]]:
    """K-means segments of each network's cells, those of later networks numbered like the first's."""
    found = {
        name: fm.segments(each, count, torch.Generator().manual_seed(seed)) for name, each in maps.items()
    }
    first = next(iter(found.values()))
    return {name: each if each is first else fm.renamed(each, first) for name, each in found.items()}


def telling_point(features: Tensor, photo: np.ndarray) -> tuple[float, float]:
    """A place worth asking about: one that is unlike the rest of the photo, and not plain.

    Highest is the squared distance of a cell from the mean of the photo's cells, times the root of the
    contrast there, both over 3 x 3 cells; the outermost cells are not asked about.

    Args:
        features: (C, h, w) of the photo.
        photo: uint8 (H, W, 3).

    Returns:
        x and y in shares of the photo.
    """
    cells = features.float()
    unlike = (cells - cells.mean((1, 2), keepdim=True)).norm(dim=0)
    score = cv2.blur(unlike.numpy(), (3, 3)) ** 2 * np.sqrt(_contrast(photo, unlike.shape) + 1e-3)
    margin = [slice(1, -1) if side > 2 else slice(None) for side in score.shape]
    inner = np.full_like(score, -1)
    inner[tuple(margin)] = score[tuple(margin)]
    y, x = np.unravel_index(inner.argmax(), inner.shape)
    return (x + 0.5) / score.shape[1], (y + 0.5) / score.shape[0]


def _contrast(photo: np.ndarray, grid: Sequence[int]) -> np.ndarray:
    """(h, w) standard deviation of the grey values of each cell, mean of it and its neighbours."""
    height, width = grid
    grey = cv2.resize(photo.mean(2), (8 * width, 8 * height), interpolation=cv2.INTER_AREA)
    return cv2.blur(grey.reshape(height, 8, width, 8).std((1, 3)), (3, 3))


def _sheet(title: str, first: list[np.ndarray], columns: Mapping[str, list[np.ndarray]]) -> np.ndarray:
    """Columns of tiles of equal heights below their names."""
    parts = [titled(stacked(tiles), name) for name, tiles in {'photo': first, **columns}.items()]
    return titled(side_by_side(parts, gap=2 * GAP), title)


def _enlarged(cells: np.ndarray, photo: np.ndarray, height: int) -> np.ndarray:
    """Cells at the size of the photo's tile."""
    return cv2.resize(cells, resized(photo, height).shape[1::-1], interpolation=cv2.INTER_CUBIC)


def _heat(values: Tensor, photo: np.ndarray, height: int) -> np.ndarray:
    """Values as colours that also grow in brightness, over a faint photo."""
    shades = (values.clamp(0, 1) * 255).round().byte().numpy()
    heat = cv2.applyColorMap(_enlarged(shades, photo, height), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    return (heat * 0.75 + resized(photo, height).mean(2, keepdims=True) * 0.25).astype(np.uint8)


def _marked(tile: np.ndarray, point: Point) -> np.ndarray:
    """A copy with a ring around a point."""
    tile = np.ascontiguousarray(tile).copy()
    centre = tuple(int(share * side) for share, side in zip(point, tile.shape[1::-1], strict=True))
    for radius, color in ((7, BLACK), (6, WHITE), (5, as_color((255, 0, 80))), (4, WHITE)):
        cv2.circle(tile, centre, radius, color, 1, cv2.LINE_AA)
    return tile


def _painted(ids: np.ndarray, photo: np.ndarray, palette: np.ndarray, height: int) -> np.ndarray:
    """A photo below the colours of its segments."""
    tile = resized(photo, height)
    ids = cv2.resize(ids.astype(np.uint8), tile.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return (tile * 0.4 + palette[ids] * 0.6).astype(np.uint8)


def _window(photo: np.ndarray, point: Point, height: int, share: float = 0.3) -> np.ndarray:
    """The square around a point, its side a ``share`` of the photo's short one; the point is marked."""
    side = max(1, int(share * min(photo.shape[:2])))
    x, y = (
        int(min(max(p * length - side / 2, 0), length - side))
        for p, length in zip(point, photo.shape[1::-1], strict=True)
    )
    tile = resized(photo[y : y + side, x : x + side], height).copy()
    scale = height / side
    cx, cy = (point[0] * photo.shape[1] - x) * scale, (point[1] * photo.shape[0] - y) * scale
    outline(tile, (cx - 12, cy - 12, cx + 12, cy + 12), WHITE)
    return tile
