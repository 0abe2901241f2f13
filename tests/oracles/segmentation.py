"""Segmentation probes in float64, cell by cell and pixel by pixel."""

import math

import torch


def iou(predicted, truth, classes):
    """{class: intersection over union} of the classes in the truth, from sets of places."""
    pixels = [(int(p), int(t)) for p, t in zip(predicted.flatten(), truth.flatten(), strict=True) if t != 255]
    found = {}
    for c in range(classes):
        ours = {i for i, (p, _) in enumerate(pixels) if p == c}
        true = {i for i, (_, t) in enumerate(pixels) if t == c}
        if true:
            found[c] = 100 * len(ours & true) / len(ours | true)
    return found


def frequencies(labels, classes, cell):
    """(H, W) labels -> [row][column][class] shares of the labelled pixels of each ``cell`` x ``cell``."""
    grid = []
    for y in range(0, len(labels), cell):
        grid.append([])
        for x in range(0, len(labels[0]), cell):
            inside = labels[y : y + cell, x : x + cell].flatten().tolist()
            counted = [v for v in inside if v != 255]
            grid[-1].append([counted.count(c) / max(len(counted), 1) for c in range(classes)])
    return grid


def retrieved(query, memory, votes, k, temperature):
    """Shares of the classes for one cell: cosines, sort, softmax, weighted mean."""

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)

    nearest = sorted(((cosine(query, row), i) for i, row in enumerate(memory)), reverse=True)[:k]
    weights = [math.exp((c - nearest[0][0]) / temperature) for c, _ in nearest]
    classes = len(votes[0])
    total = [sum(w * votes[i][c] for w, (_, i) in zip(weights, nearest, strict=True)) for c in range(classes)]
    return torch.tensor([t / sum(weights) for t in total], dtype=torch.float64)
