"""Masking strategies for the patches of a view, one plain function each.

Each returns a bool array (h, w) over the grid of patches; True = masked, hidden from the student. ``rng`` is
the only source of randomness. Counts decide the shapes in a model, so they are computed with the arithmetic
of the official codes, including rounding errors of floats.
"""

import math

import numpy as np
import torch

Grid = tuple[int, int]

_TRIES = 10


def random_mask(grid: Grid, ratio: float, rng: np.random.Generator, rounding: str = 'int') -> np.ndarray:
    """Mask patches drawn at random without repetition (MAE, He et al., 2022).

    Args:
        grid: h and w, patches along the height and the width.
        ratio: masked share, in [0, 1].
        rng: numpy generator.
        rounding: how the number of *kept* patches is rounded: ``int`` rounds down (MAE; FCMAE keeps 19 of 49
            at ratio 0.6), ``round`` to the nearest (SparK, Tian et al., 2023, keeps 20).

    Returns:
        (h, w) bool.

    Raises:
        ValueError: ratio outside [0, 1], or another rounding.
    """
    roundings = {'int': int, 'round': round}
    _require(rounding in roundings, 'random_mask: rounding', tuple(roundings), rounding)
    _require_share('random_mask: ratio', ratio)
    patches = grid[0] * grid[1]
    mask = np.ones(grid, bool)
    _fix_count(mask, patches - roundings[rounding](patches * (1 - ratio)), rng)
    return mask


def cell_mask(grid: Grid, cell: int, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Mask square cells of several patches, drawn without repetition (SimMIM, Xie et al., 2022).

    Args:
        grid: h and w, patches along the height and the width; multiples of ``cell``.
        cell: side of a cell in patches; 2 for a ViT with patches of 16 px, 8 for Swin: 32 px.
        ratio: masked share; the number of masked cells is rounded *up*: 0.6 masks 30 of 49.
        rng: numpy generator.

    Returns:
        (h, w) bool, constant within a cell.

    Raises:
        ValueError: cells that do not fill the grid, or a ratio outside [0, 1].
    """
    _require_share('cell_mask: ratio', ratio)
    _require(not (grid[0] % cell or grid[1] % cell), 'cell_mask: cell', f'a divisor of the grid {grid}', cell)
    mask = np.zeros((grid[0] // cell, grid[1] // cell), bool)
    _fix_count(mask, int(np.ceil(mask.size * ratio)), rng)
    return mask.repeat(cell, 0).repeat(cell, 1)


def block_mask(
    grid: Grid,
    count: float,
    rng: np.random.Generator,
    min_area: float = 16,
    max_area: float | None = None,
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    exact: bool = False,
) -> np.ndarray:
    """Mask rectangles until enough patches are masked (BEiT, Bao et al., 2022).

    The area of a block is drawn from U(min_area, number of patches left), its aspect ratio from a log-uniform
    distribution; its sides are rounded. A block is used if both sides are shorter than the grid's, and if it
    masks at least one new patch and not more than are left. After ten unused blocks in a row the mask ends
    with fewer than ``count`` patches. (If fewer than ``min_area`` patches are left, areas are drawn between
    the two numbers, so small blocks become rare.)

    Args:
        grid: h and w, patches along the height and the width.
        count: largest number of patches to mask; may be a fraction (iBOT's is ratio * h * w).
        rng: numpy generator.
        min_area: smallest area drawn, in patches; 16 in BEiT, ``(min(h, w) // 3) ** 2`` in iBOT, 4 in DINOv2.
        max_area: largest area drawn; None: ``count``. About half of the grid in DINOv2: 98 of 14 x 14.
        aspect: lower and upper height / width.
        exact: afterwards mask single random patches until ``int(count)`` are masked (BEiT v2, DINOv3).

    Returns:
        (h, w) bool. With BEiT's 75 of 14 x 14 patches, 74.5 are masked on average; all 75 in two of three
        draws.

    Raises:
        ValueError: count outside 0 .. h * w, an area below 0, or an aspect that is no range above 0.
    """
    _require_count('block_mask', count, grid)
    _require_range('block_mask: aspect', aspect)
    _require(min_area > 0, 'block_mask: min_area', 'above 0', min_area)
    mask, masked = np.zeros(grid, bool), 0
    while masked < count:
        left = count - masked
        added = _add_block(mask, min_area, left if max_area is None else min(left, max_area), aspect, rng)
        if not added:
            break
        masked += added
    if exact:
        _fix_count(mask, int(count), rng)
    return mask


def _add_block(
    mask: np.ndarray, least: float, most: float, aspect: tuple[float, float], rng: np.random.Generator
) -> int:
    """Mask one rectangle in place; return the number of newly masked patches, 0 if no draw was used."""
    height, width = mask.shape
    for _ in range(_TRIES):
        area, shape = _uniform(least, most, rng), _log_uniform(*aspect, rng)
        h, w = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if h >= height or w >= width:
            continue
        top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
        block = mask[top : top + h, left : left + w]
        new = h * w - np.count_nonzero(block)
        if 0 < new <= most:
            block[:] = True
            return new
    return 0


def inverse_block_mask(
    grid: Grid,
    count: int,
    rng: np.random.Generator,
    aspect: tuple[float, float] = (0.5, 2.0),
    roll: bool = True,
) -> np.ndarray:
    """Mask all but one rectangle (CAPI, Darcet et al., 2025; Franca, Venkataramanan et al., 2025).

    The rectangle is the smallest one of the drawn aspect ratio that has room for the patches to keep. It is
    filled row by row, so its last row may be shorter.

    Args:
        grid: h and w, patches along the height and the width.
        count: patches to mask, exactly; ``int(256 * 0.65)`` in CAPI.
        rng: numpy generator.
        aspect: lower and upper height / width of the rectangle; if the grid is too small, the nearest one
            that fits. (0.3, 1 / 0.3) in Franca.
        roll: shift the mask by a random number of rows and columns, cyclically. Every patch is then masked
            equally often.

    Returns:
        (h, w) bool.

    Raises:
        ValueError: count outside of 0 .. h * w, or an aspect that is no range above 0.
    """
    _require_count('inverse_block_mask', count, grid)
    _require_range('inverse_block_mask: aspect', aspect)
    (height, width), mask = grid, np.ones(grid, bool)
    kept = height * width - count
    if kept == 0:
        return mask
    shape = _log_uniform(*np.clip(aspect, kept / width**2, height**2 / kept), rng)
    h = min(math.ceil(math.sqrt(kept * shape)), height)
    w = min(math.ceil(math.sqrt(kept / shape)), width)
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    mask[top : top + h, left : left + w] = np.arange(h * w).reshape(h, w) >= kept
    return np.roll(mask, (rng.integers(height), rng.integers(width)), (0, 1)) if roll else mask


def some_of(mask: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Positions of some masked patches, drawn without repetition (CAPI, Darcet et al., 2025).

    Args:
        mask: (h, w) bool.
        share: share of the masked patches to draw, at least one; ``int(166 * 0.05)`` = 8 in CAPI.
        rng: numpy generator.

    Returns:
        (n,) int64, ascending positions in the flattened grid.

    Raises:
        ValueError: share outside [0, 1].
    """
    _require_share('some_of: share', share)
    places = np.flatnonzero(mask)
    return np.sort(rng.choice(places, max(int(len(places) * share), 1), replace=False))


def data2vec_mask(
    grid: Grid, ratio: float, rng: np.random.Generator, length: int = 3, adjust: float = 0.07
) -> np.ndarray:
    """Mask all but several small squares (data2vec 2.0's inverse block masking, Baevski et al., 2023).

    Centres of squares are drawn with repetition. Without overlap, the squares would cover the kept share plus
    ``adjust``. The squares are kept; their parts outside the grid are moved to its border. Then single random
    patches are kept or masked until the count is right.

    Args:
        grid: h and w, patches along the height and the width.
        ratio: masked share; exactly ``int(h * w * (1 - ratio))`` are kept, 39 of 196 at 0.8.
        rng: numpy generator.
        length: side of a square in patches.
        adjust: added to the kept share for the number of squares.

    Returns:
        (h, w) bool.

    Raises:
        ValueError: a ratio outside [0, 1] or a length below 1.
    """
    _require_share('data2vec_mask: ratio', ratio)
    _require(length >= 1, 'data2vec_mask: length', 'at least 1', length)
    patches, share = grid[0] * grid[1], 1 - ratio
    centres = rng.integers(patches, size=int(patches * ((share + adjust) / length**2)))
    reach = np.arange(length) - length // 2
    rows, columns = (
        np.clip(place[:, None] + reach, 0, side - 1)
        for place, side in zip(np.divmod(centres, grid[1]), grid, strict=True)
    )
    kept = np.zeros(grid, bool)
    kept[rows[:, :, None], columns[:, None, :]] = True
    _fix_count(kept, int(patches * share), rng)
    return ~kept


def gmml_mask(
    grid: Grid, ratio: float, rng: np.random.Generator, patch: int = 1, max_side: float = 0.3
) -> np.ndarray:
    """Mask rectangles until a share is reached (SiT, GMML; Atito et al., 2021).

    The corner of a rectangle is drawn from all patches except those of the last row and column. Its sides are
    drawn from U(patch, max_side of the view) pixels. It is cut to the view and rounded to whole patches. The
    last rectangle is masked completely, so the share may be exceeded by up to one rectangle.

    Args:
        grid: h and w, patches along the height and the width.
        ratio: masked share to reach; if it is above 0.5, the share is drawn from U(0.5, ratio).
        rng: numpy generator.
        patch: side of a patch in pixels; 1, single pixels, is SiT's default.
        max_side: longest side of a rectangle, as a share of the view's.

    Returns:
        (h, w) bool.

    Raises:
        ValueError: a ratio outside [0, 1], or rectangles of less than a patch.
    """
    _require_share('gmml_mask: ratio', ratio)
    longest = [int(side * patch * max_side) for side in grid]
    _require(min(longest) > patch, 'gmml_mask: max_side', 'more than a patch', max_side)
    mask, enough = np.zeros(grid, bool), _uniform(min(0.5, ratio), ratio, rng) * grid[0] * grid[1]
    while np.count_nonzero(mask) < enough:
        spans = []
        for side, most in zip(grid, longest, strict=True):
            near = int(rng.integers(side - 1))
            spans.append(
                slice(near, near + round(min(rng.integers(patch, most), (side - near) * patch) / patch))
            )
        mask[tuple(spans)] = True
    return mask


def region_cut_mask(
    grid: Grid,
    ratio: float,
    rng: np.random.Generator,
    boxes: int = 3,
    area: tuple[float, float] = (0.12, 0.3),
    aspect: tuple[float, float] = (0.5, 2.0),
) -> np.ndarray:
    """Mask a part of every region, so that each keeps about ``1 - ratio`` of itself: region-collaborative
    cut-out (Qiu et al., 2024).

    Regions are overlapping boxes, one for each field of a coarse grid: its centre lies in the middle half of
    the field. A box is cut to the view and rounded to whole patches. Boxes are handled from large to small.
    If more than ``ratio`` of a box is masked already, all of it is unmasked. Then a rectangle with the box's
    shape and the missing area is masked at a random place inside. A later box may unmask a part of an
    earlier one.

    Args:
        grid: h and w, patches along the height and the width, at least ``boxes`` each.
        ratio: masked share of each box, in [0, 1]. With 0 nothing is masked.
        rng: numpy generator.
        boxes: number of fields along each side.
        area: lower and upper area of a box before it is cut, as a share of the view.
        aspect: lower and upper width / height of a box, log-uniform, as in a square view.

    Returns:
        (h, w) bool.

    Raises:
        ValueError: a ratio outside [0, 1], a range that is none above 0, or a grid that is too small.
    """
    _require_share('region_cut_mask: ratio', ratio)
    _require_range('region_cut_mask: area', area)
    _require_range('region_cut_mask: aspect', aspect)
    _require(min(grid) >= boxes, 'region_cut_mask: grid', f'of at least {boxes} patches a side', grid)
    fields = [_field_box(y, x, boxes, area, aspect, rng) for y in range(boxes) for x in range(boxes)]
    mask = np.zeros(grid, bool)
    for (top, bottom), (left, right) in sorted(fields, key=_area, reverse=True):
        rows, columns = (
            (round(near * side), min(round(far * side), side - 1) + 1)
            for near, far, side in zip((top, left), (bottom, right), grid, strict=True)
        )
        region = mask[slice(*rows), slice(*columns)]
        missing = ratio * region.size - np.count_nonzero(region)
        if missing < 0:
            region[:] = False
            missing = ratio * region.size
        if missing > 0:
            share = math.sqrt(missing / region.size)
            region[tuple(_cut(side, share * side, rng) for side in region.shape)] = True
    return mask


def _field_box(row: int, column: int, fields: int, area, aspect, rng) -> tuple[tuple[float, float], ...]:
    """(top, bottom), (left, right) of a field's box, as shares of the view, cut to the view."""
    size, shape = _uniform(*area, rng), _log_uniform(*aspect, rng)
    spans = []
    for field, side in ((row, math.sqrt(size / shape)), (column, math.sqrt(size * shape))):
        centre = (field + _uniform(0.25, 0.75, rng)) / fields
        spans.append((max(0.0, centre - side / 2), min(1.0, centre + side / 2)))
    return tuple(spans)


def _area(box: tuple[tuple[float, float], ...]) -> float:
    return math.prod(far - near for near, far in box)


def _cut(side: int, length: float, rng: np.random.Generator) -> slice:
    """A span of about ``length`` patches at a random place of a side."""
    near = rng.random() * (side - 1 - length)
    return slice(max(round(near), 0), round(near + length - 1) + 1)


def chosen_ratio(ratios: tuple[float, ...], spreads: tuple[float, ...], rng: np.random.Generator) -> float:
    """Draw the masked share of one view: one of several ratios, each with a spread (iBOT, Zhou et al., 2022).

    Args:
        ratios: one is chosen; iBOT's recipe has 0 and 0.3, so half of the views are not masked.
        spreads: for each ratio, half the width of the uniform distribution around it; iBOT: 0 and 0.2.
        rng: numpy generator.
    """
    chosen = rng.integers(len(ratios))
    return _uniform(ratios[chosen] - spreads[chosen], ratios[chosen] + spreads[chosen], rng)


def batch_counts(
    patches: int,
    views: int,
    rng: np.random.Generator,
    ratio: tuple[float, float] = (0.1, 0.5),
    share: float = 0.5,
    in_bin: str = 'uniform',
) -> np.ndarray:
    """Number of masked patches of each view of a batch, with the same spread in every batch (DINOv2, Oquab et
    al., 2024).

    ``int(views * share)`` of the views are masked. The range of ratios is divided into as many equal bins.
    Each bin gives the ratio of one view. Then all views are shuffled.

    Args:
        patches: number of patches of a view.
        views: number of views in the batch; all global crops of all images in DINOv2.
        rng: numpy generator.
        ratio: lower and upper masked share.
        share: share of the views that are masked.
        in_bin: ``uniform``: the ratio is drawn in the bin (DINOv2); ``upper``: its upper edge (DINOv3).

    Returns:
        (views,) int64, 0 for a view that is not masked.

    Raises:
        ValueError: shares outside [0, 1] or another ``in_bin``.
    """
    _require(0 <= ratio[0] <= ratio[1] <= 1, 'batch_counts: ratio', '0 <= low <= high <= 1', ratio)
    _require_share('batch_counts: share', share)
    _require(in_bin in ('uniform', 'upper'), 'batch_counts: in_bin', ('uniform', 'upper'), in_bin)
    masked = int(views * share)
    edges = torch.linspace(*ratio, masked + 1)  # float32 as in the official codes: rounding decides counts
    ratios = edges[1:]
    if in_bin == 'uniform':
        within = torch.from_numpy(rng.random(masked, np.float32))
        ratios = edges[:-1] + (edges[1:] - edges[:-1]) * within
    counts = np.zeros(views, np.int64)
    counts[:masked] = (patches * ratios).long()
    return rng.permutation(counts)


def _fix_count(mask: np.ndarray, count: int, rng: np.random.Generator) -> None:
    """Set or clear random patches in place until ``count`` are set."""
    missing = count - np.count_nonzero(mask)
    if missing:
        places = np.flatnonzero(mask != (missing > 0))
        mask.flat[rng.choice(places, abs(missing), replace=False)] = missing > 0


def _uniform(low: float, high: float, rng: np.random.Generator) -> float:
    """A uniform number between two numbers, in any order."""
    return low + (high - low) * rng.random()


def _log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    return math.exp(_uniform(math.log(low), math.log(high), rng))


def _require(valid: bool, name: str, expected, got) -> None:
    if not valid:
        expected = f'one of {expected}' if isinstance(expected, tuple) else expected
        raise ValueError(f'{name} must be {expected}, got {got!r}')


def _require_share(name: str, value: float) -> None:
    _require(0 <= value <= 1, name, 'in [0, 1]', value)


def _require_range(name: str, value: tuple[float, float]) -> None:
    _require(0 < value[0] <= value[1], name, '0 < low <= high', value)


def _require_count(law: str, count: float, grid: Grid) -> None:
    _require(0 <= count <= grid[0] * grid[1], f'{law}: count', f'in 0..{grid[0] * grid[1]} patches', count)
