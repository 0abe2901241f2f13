"""Masks in plain Python, drawn by its own generator: for the distribution of what the laws draw."""

import math
import random


def blocks(height, width, count, least, most=None, aspect=(0.3, 1 / 0.3)) -> list[list[int]]:
    """BEiT's law: rectangles until ``count`` cells are covered, or ten in a row do not fit."""
    grid, covered = [[0] * width for _ in range(height)], 0
    while covered < count:
        room = min(count - covered, most or count)
        for _ in range(10):
            area = random.uniform(least, room)
            shape = math.exp(random.uniform(*map(math.log, aspect)))
            h, w = round((area * shape) ** 0.5), round((area / shape) ** 0.5)
            if h >= height or w >= width:
                continue
            y, x = random.randint(0, height - h), random.randint(0, width - w)
            new = [(i, j) for i in range(y, y + h) for j in range(x, x + w) if not grid[i][j]]
            if 1 <= len(new) <= room:
                break
        else:
            return grid
        for i, j in new:
            grid[i][j] = 1
        covered += len(new)
    return grid


def bin_edges(low: float, high: float, bins: int) -> list[float]:
    """The edges of equal bins, exact but for float64."""
    return [low + (high - low) * i / bins for i in range(bins + 1)]
