"""What self-distilled transformers add, from the formulas: one vector at a time, differentiable."""

import math

import torch


def of_length_one(row, eps=1e-8):
    """A vector over its length, or over eps where it is shorter."""
    length = sum(v * v for v in row) ** 0.5 if bool((row != 0).any()) else row.sum() * 0
    return row / max(length, eps)


def koleo(x, eps=1e-8):
    """The mean of -log(distance to the nearest other vector + eps); eps is added to each coordinate too."""
    rows = [of_length_one(row, eps) for row in x]
    total = 0.0
    for i, row in enumerate(rows):
        others = [j for j in range(len(rows)) if j != i]
        nearest = min(others, key=lambda j: math.dist(row.tolist(), rows[j].tolist()))
        distance = sum((a - b + eps) ** 2 for a, b in zip(row, rows[nearest], strict=True)) ** 0.5
        total = total - torch.log(distance + eps)
    return total / len(rows)
