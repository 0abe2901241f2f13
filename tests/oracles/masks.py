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


def region_cuts(side, share, regions=3) -> tuple[list[list[int]], list[float]]:
    """Region-collaborative cut-out of a square grid, and the share of each region that is cut at the end."""
    boxes = []
    for field in range(regions**2):
        area, shape = random.uniform(0.12, 0.3), math.exp(random.uniform(math.log(0.5), math.log(2)))
        width, height = (area * shape) ** 0.5, (area / shape) ** 0.5
        x = random.uniform(field % regions + 0.25, field % regions + 0.75) / regions
        y = random.uniform(field // regions + 0.25, field // regions + 0.75) / regions
        x1, x2 = max(0, x - width / 2), min(1, x + width / 2)
        y1, y2 = max(0, y - height / 2), min(1, y + height / 2)
        boxes.append(((x2 - x1) * (y2 - y1), x1, y1, x2, y2))
    cut, insides = {}, []
    for _, *box in sorted(boxes, reverse=True):
        x1, y1 = round(box[0] * side), round(box[1] * side)
        x2, y2 = min(round(box[2] * side), side - 1), min(round(box[3] * side), side - 1)  # inclusive
        inside = [(y, x) for y in range(y1, y2 + 1) for x in range(x1, x2 + 1)]
        insides.append(inside)
        so_far = sum(cut.get(place, 0) for place in inside) / len(inside)
        if so_far > share:
            cut.update(dict.fromkeys(inside, 0))
            so_far = 0
        area = (share - so_far) * len(inside)
        shape = (x2 - x1 + 1) / (y2 - y1 + 1)
        width, height = (area * shape) ** 0.5, (area / shape) ** 0.5
        if not area:
            continue
        left, top = random.random() * (x2 - x1 - width) + x1, random.random() * (y2 - y1 - height) + y1
        for y in range(round(top), min(round(top + height - 1), y2) + 1):
            for x in range(round(left), min(round(left + width - 1), x2) + 1):
                if (y, x) in inside:
                    cut[y, x] = 1
    grid = [[cut.get((y, x), 0) for x in range(side)] for y in range(side)]
    return grid, [sum(cut.get(place, 0) for place in inside) / len(inside) for inside in insides]


def bin_edges(low: float, high: float, bins: int) -> list[float]:
    """The edges of equal bins, exact but for float64."""
    return [low + (high - low) * i / bins for i in range(bins + 1)]
