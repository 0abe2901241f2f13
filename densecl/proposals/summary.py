"""What a store of proposals holds, in figures."""

import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta

import numpy as np

from .store import ProposalStore

QUANTILES = (0, 5, 25, 50, 75, 95, 100)


def describe(store: ProposalStore) -> dict:
    """Figures of a store; each image is read once.

    Returns:
        images; boxes; bytes_per_image; without (ids of images that have no box); and quantiles (in per
        cent, :data:`QUANTILES`) of boxes_per_image, of short_side (pixels of a box), relative_size
        (sqrt(w h) / sqrt(W H)) and aspect (w / h).
    """
    counts, without, sides = [], [], [np.zeros((0, 3))]
    for image_id in store:
        proposals = store[image_id]
        counts.append(len(proposals))
        if not len(proposals):
            without.append(image_id)
            continue
        width, height = (proposals.boxes[:, 2:] - proposals.boxes[:, :2]).astype(np.float64).T
        relative = np.sqrt(width * height / np.prod(np.float64(proposals.size)))
        aspect = width / np.maximum(height, 1e-9)
        sides.append(np.stack([np.minimum(width, height), relative, aspect], axis=1))
    short, relative, aspect = np.concatenate(sides).T
    size = sum(file.path.stat().st_size for file in store.files)
    return dict(
        images=len(counts),
        boxes=int(sum(counts)),
        bytes_per_image=round(size / max(len(counts), 1), 1),
        without=without,
        boxes_per_image=_quantiles(counts),
        short_side=_quantiles(short),
        relative_size=_quantiles(relative),
        aspect=_quantiles(aspect),
    )


def _quantiles(values) -> list[float] | None:
    return np.percentile(values, QUANTILES).round(3).tolist() if len(values) else None


def as_text(figures: dict, unreadable: list[str], shown: int = 10) -> str:
    """The figures of :func:`describe`, and the files that could not be read, as lines to print."""
    images, without = figures['images'], figures['without']
    lines = [
        f'{images} images, {figures["boxes"]} boxes, {figures["bytes_per_image"]} bytes an image',
        'quantiles          ' + ''.join(f'{q:>8} %' for q in QUANTILES),
    ]
    for name in ('boxes_per_image', 'short_side', 'relative_size', 'aspect'):
        values = figures[name] or [float('nan')] * len(QUANTILES)
        lines.append(f'{name.replace("_", " "):19}' + ''.join(f'{value:>10.4g}' for value in values))
    share = 100 * len(without) / max(images, 1)
    lines.append(f'images without a box: {len(without)} ({share:.1f} %)' + _listed(without, shown))
    lines.append(f'files that cannot be read: {len(unreadable)}' + _listed(unreadable, shown))
    return '\n'.join(lines)


def _listed(names: list[str], shown: int) -> str:
    more = f'\n  and {len(names) - shown} more' if len(names) > shown else ''
    return ''.join(f'\n  {name}' for name in names[:shown]) + more


def progress(items: Iterable, total: int, done: int = 0, every: float = 0.5) -> Iterator:
    """Pass items on and print how far they are, how fast and how long it will take.

    On a terminal one line that changes; elsewhere a line now and then.

    Args:
        items: what to pass on.
        total: number of items, with those done before.
        done: items done before.
        every: seconds between two prints on a terminal; elsewhere 60 times as long.
    """
    terminal = sys.stderr.isatty()
    start = printed = time.monotonic()
    count = 0
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - printed > (every if terminal else 60 * every):
            printed = now
            _print_line(count, done, total, now - start, terminal)
    _print_line(count, done, total, time.monotonic() - start, terminal)
    if terminal:
        print(file=sys.stderr)


def _print_line(count: int, done: int, total: int, seconds: float, terminal: bool) -> None:
    rate = count / max(seconds, 1e-9)
    left = timedelta(seconds=round((total - done - count) / rate if rate else 0))
    share = (done + count) / max(total, 1)
    bar = '#' * int(24 * share)
    line = f'[{bar:24}] {done + count}/{total} {100 * share:3.0f} %  {rate:.3g} images/s  {left} left'
    print(f'\r{line:79}' if terminal else line, end='' if terminal else '\n', file=sys.stderr, flush=True)
