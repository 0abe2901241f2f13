"""Sparse convolutional networks on lists of points: what is hidden is not there, rather than 0.

A map is a dict (image, row, column) -> (C,) vector, with the active positions alone.
"""

import torch


def points_of(maps, active):
    """(B, C, H, W) maps -> their active points; ``active`` (B, h, w) are cells of them."""
    at = places(active, maps.shape[2:])
    return {(b, y, x): maps[b, :, y, x] for b, y, x in at}


def places(active, size):
    """Active positions (image, row, column) of maps of a size."""
    rows, columns = (whole // part for whole, part in zip(size, active.shape[1:], strict=True))
    return [
        (b, y, x)
        for b in range(len(active))
        for y in range(size[0])
        for x in range(size[1])
        if active[b, y // rows, x // columns]
    ]


def dense(points, shape):
    """(B, C, H, W), 0 where there is no point."""
    maps = torch.zeros(shape, dtype=torch.float64)
    for (b, y, x), vector in points.items():
        maps[b, :, y, x] = vector
    return maps


def _window(points, layer, place):
    """(tap, vector) of the points in the window of an output place."""
    b, y, x = place

    def of(value, axis):
        return value if isinstance(value, int) else value[axis]

    for i in range(of(layer.kernel_size, 0)):
        for j in range(of(layer.kernel_size, 1)):
            row = y * of(layer.stride, 0) + i * of(layer.dilation, 0) - of(layer.padding, 0)
            column = x * of(layer.stride, 1) + j * of(layer.dilation, 1) - of(layer.padding, 1)
            if (b, row, column) in points:
                yield (i, j), points[b, row, column]


def convolve(points, layer, at):
    """A dense or depthwise convolution at the places ``at``."""
    found, columns = {}, layer.kernel_size[1]
    weights = [w if layer.groups == 1 else w[:, 0] for w in layer.weight.flatten(2).unbind(2)]
    for place in at:
        total = torch.zeros(layer.out_channels, dtype=torch.float64)
        if layer.bias is not None:
            total = total + layer.bias
        for (i, j), vector in _window(points, layer, place):
            weight = weights[i * columns + j]
            total = total + (weight @ vector if layer.groups == 1 else weight * vector)
        found[place] = total
    return found


def max_pool(points, layer, at):
    """Of points behind a ReLU, where a hidden 0 is never above one that is there."""
    return {
        place: torch.stack([vector for _, vector in _window(points, layer, place)]).amax(0) for place in at
    }


def batch_norm(points, layer, moved):
    """By the statistics of all points; ``moved[layer]`` becomes the running ones, (mean, variance)."""
    rows = torch.stack(list(points.values()))
    mean, count = rows.sum(0) / len(rows), len(rows)
    squares = ((rows - mean) ** 2).sum(0)
    share = layer.momentum
    moved[layer] = share * mean.detach(), 1 - share + share * squares.detach() / (count - 1)
    scale = layer.weight / (squares / count + layer.eps).sqrt()
    return {place: (vector - mean) * scale + layer.bias for place, vector in points.items()}


def layer_norm(points, layer):
    """Each point by itself."""

    def normal(v):
        mean = v.sum() / len(v)
        return (v - mean) / (((v - mean) ** 2).sum() / len(v) + layer.eps).sqrt() * layer.weight + layer.bias

    return {place: normal(vector) for place, vector in points.items()}


def response_norm(points, layer):
    """GRN over the points of an image."""
    found = {}
    for image in {place[0] for place in points}:
        mine = {place: vector for place, vector in points.items() if place[0] == image}
        norm = sum(vector**2 for vector in mine.values()).sqrt()
        share = norm / (norm.sum() / len(norm) + layer.eps)
        found |= {p: v + layer.weight * (v * share) + layer.bias for p, v in mine.items()}
    return found


def each(points, change):
    """Every vector changed by itself."""
    return {place: change(vector) for place, vector in points.items()}


def added(first, second):
    """Sums of the same places."""
    return {place: first[place] + second[place] for place in first}
