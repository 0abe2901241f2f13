"""Compiled parts of the graph segmentation: the pixel graph's sorted edges, and the merging along them.

An edge is one number, ``4 * pixel + direction``, so it says both of its ends; directions are right, down,
down right, down left, which names every pair of neighbours once. Importing this needs numba.
"""

import numpy as np
from numba import njit

DIGITS = ((0, 2047), (11, 1023), (21, 1023))  # shift and mask: the 31 bits of a float32 that is not negative


@njit(cache=True, nogil=True)
def sorted_edges(image, diagonals):
    """Edges between neighbours by rising colour distance; equal ones in scan order.

    Args:
        image: float32 (H, W, C).
        diagonals: whether pixels that touch by a corner are neighbours, too.

    Returns:
        weights: float32 (E,), Euclidean colour distance of the two pixels, rising.
        edges: uint32 (E,), ``4 * pixel + direction``.
    """
    weights, edges = _edges(image, diagonals)
    keys = weights.view(np.uint32)  # floats that are not negative are ordered as their bits are
    spare_keys, spare_edges = np.empty_like(keys), np.empty_like(edges)
    for shift, mask in DIGITS:
        _counting_pass(keys, edges, spare_keys, spare_edges, shift, mask)
        keys, spare_keys = spare_keys, keys
        edges, spare_edges = spare_edges, edges
    return keys.view(np.float32), edges


@njit(cache=True, nogil=True)
def _edges(image, diagonals):
    height, width, _ = image.shape
    total = 2 * height * width - height - width
    if diagonals:
        total += 2 * (height - 1) * (width - 1)
    weights, edges = np.empty(total, np.float32), np.empty(total, np.uint32)
    count = 0
    for y in range(height):
        for x in range(width):
            pixel = 4 * (y * width + x)
            if x + 1 < width:
                weights[count] = _distance(image, y, x, y, x + 1)
                edges[count] = pixel
                count += 1
            if y + 1 == height:
                continue
            weights[count] = _distance(image, y, x, y + 1, x)
            edges[count] = pixel + 1
            count += 1
            if diagonals and x + 1 < width:
                weights[count] = _distance(image, y, x, y + 1, x + 1)
                edges[count] = pixel + 2
                count += 1
            if diagonals and x > 0:
                weights[count] = _distance(image, y, x, y + 1, x - 1)
                edges[count] = pixel + 3
                count += 1
    return weights, edges


@njit(cache=True, nogil=True)
def _distance(image, y, x, other_y, other_x):
    total = np.float32(0)
    for channel in range(image.shape[2]):
        difference = image[y, x, channel] - image[other_y, other_x, channel]
        total += difference * difference
    return np.sqrt(total)


@njit(cache=True, nogil=True)
def _counting_pass(keys, edges, out_keys, out_edges, shift, mask):
    """Sort stably by one digit of the keys."""
    starts = np.zeros(mask + 2, np.int64)
    for i in range(len(keys)):
        starts[((keys[i] >> shift) & mask) + 1] += 1
    for digit in range(mask + 1):
        starts[digit + 1] += starts[digit]
    for i in range(len(keys)):
        digit = (keys[i] >> shift) & mask
        place = starts[digit]
        starts[digit] = place + 1
        out_keys[place] = keys[i]
        out_edges[place] = edges[i]


@njit(cache=True, nogil=True)
def segment(height, width, weights, edges, scale, min_size):
    """Merge pixels along sorted edges (Felzenszwalb & Huttenlocher 2004, algorithm 1 and eq. 3-4).

    Returns:
        labels: int32 (H, W), numbered in the order in which a scan by rows meets them.
        count: how many.
    """
    parent = np.arange(height * width).astype(np.int32)
    size = np.ones(height * width, np.int32)
    # Int(C) + scale / |C|: the heaviest edge that may still join component C to another.
    limit = np.full(height * width, scale, np.float32)
    steps = np.array([1, width, width + 1, width - 1])
    refused = np.empty(len(edges), np.uint32)  # edges that lead out of a component
    count = 0
    for i in range(len(edges)):
        first = np.int64(edges[i] >> np.uint32(2))
        second = first + steps[edges[i] & np.uint32(3)]
        if parent[first] == parent[second]:
            continue
        first, second = _root(parent, first), _root(parent, second)
        if first == second:
            continue
        if weights[i] <= limit[first] and weights[i] <= limit[second]:
            root = _join(parent, size, first, second)
            limit[root] = weights[i] + np.float32(scale / size[root])
        else:
            refused[count] = edges[i]
            count += 1
    _absorb(parent, size, refused[:count], steps, min_size)
    return _labels(parent, height, width)


@njit(cache=True, nogil=True)
def _absorb(parent, size, edges, steps, min_size):
    """Join what is too small to its neighbour across the lightest of the edges, which are sorted."""
    for edge in edges:
        first = _root(parent, np.int64(edge >> np.uint32(2)))
        second = _root(parent, np.int64(edge >> np.uint32(2)) + steps[edge & np.uint32(3)])
        if first != second and (size[first] < min_size or size[second] < min_size):
            _join(parent, size, first, second)


@njit(cache=True, nogil=True)
def _root(parent, node):
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return np.int64(node)


@njit(cache=True, nogil=True)
def _join(parent, size, first, second):
    """Hang the smaller of two roots under the larger one; return that."""
    if size[first] < size[second]:
        first, second = second, first
    parent[second] = first
    size[first] += size[second]
    return first


@njit(cache=True, nogil=True)
def _labels(parent, height, width):
    labels = np.empty(height * width, np.int32)
    number = np.full(height * width, -1, np.int32)
    count = 0
    for pixel in range(height * width):
        root = _root(parent, pixel)
        if number[root] < 0:
            number[root] = count
            count += 1
        labels[pixel] = number[root]
    return labels.reshape(height, width), count
