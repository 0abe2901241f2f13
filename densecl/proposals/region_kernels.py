"""Compiled parts of selective search: what each segment looks like, who its neighbours are, and the
hierarchy that grows from them. Importing this needs numba.

Histograms are kept as counts, and the similarity of two regions as the exact sum of whole numbers in
float64 (below 2 ** 53 for images up to 30 megapixels), so merges come in the same order on every machine.
"""

from heapq import heapify, heappop, heappush

import numpy as np
from numba import njit

COLOUR_BINS = 25
TEXTURE_BINS = 10
DIRECTIONS = 4  # 0, 45, 90 and 135 degrees; each with two signs, so eight orientations


@njit(cache=True, nogil=True)
def pixel_bins(image, dx, dy):
    """The histogram bins that each pixel falls into.

    A derivative falls into bin 0 .. 9 where it is positive, 10 .. 19 where it is negative, relative to
    the image's largest one of that channel, direction and sign.

    Args:
        image: uint8 (H, W, C).
        dx, dy: int16 (H, W, C), horizontal and vertical derivatives.

    Returns:
        uint8 (H * W, 5 * C): bins of the C colours, then of the derivatives, 4 directions a channel.
    """
    height, width, channels = image.shape
    colours, along_x = image.reshape(-1, channels), dx.reshape(-1, channels)
    along_y = dy.reshape(-1, channels)
    scale = _texture_scale(along_x, along_y)
    bins = np.empty((height * width, (1 + DIRECTIONS) * channels), np.uint8)
    for pixel in range(height * width):
        for channel in range(channels):
            bins[pixel, channel] = (colours[pixel, channel] * COLOUR_BINS) >> 8
            x, y = np.int64(along_x[pixel, channel]), np.int64(along_y[pixel, channel])
            first = channels + DIRECTIONS * channel
            bins[pixel, first] = _texture_bin(x, scale[channel, 0])
            bins[pixel, first + 1] = _texture_bin(x + y, scale[channel, 1])
            bins[pixel, first + 2] = _texture_bin(y, scale[channel, 2])
            bins[pixel, first + 3] = _texture_bin(y - x, scale[channel, 3])
    return bins


@njit(cache=True, nogil=True)
def _texture_scale(along_x, along_y):
    """Bins per unit of derivative, float32 (C, 4, 2): of positive and of negative ones."""
    pixels, channels = along_x.shape
    top = np.zeros((channels, DIRECTIONS, 2), np.int32)
    for pixel in range(pixels):
        for channel in range(channels):
            x, y = np.int64(along_x[pixel, channel]), np.int64(along_y[pixel, channel])
            for direction, value in enumerate((x, x + y, y, y - x)):
                top[channel, direction, 0] = max(top[channel, direction, 0], value)
                top[channel, direction, 1] = max(top[channel, direction, 1], -value)
    return (TEXTURE_BINS / (top + 1.0)).astype(np.float32)


@njit(cache=True, nogil=True)
def _texture_bin(value, scale):
    if value < 0:
        return np.uint8(TEXTURE_BINS + np.int64(-value * scale[1]))
    return np.uint8(value * scale[0])


@njit(cache=True, nogil=True)
def describe(labels, count, bins):
    """Sizes, boxes and histograms of the segments.

    Args:
        labels: int32 (H, W), 0 .. count - 1.
        bins: uint8 (H * W, 5 * C), what :func:`pixel_bins` returns.

    Returns:
        sizes: int32 (count,), pixels.
        boxes: int32 (count, 4), x1, y1, x2, y2, ends exclusive.
        histograms: int32 (count, 25 * C + 80 * C), colours, then derivatives; counts of pixels.
    """
    height, width = labels.shape
    channels = bins.shape[1] // (1 + DIRECTIONS)
    starts = np.empty(bins.shape[1], np.int64)
    for column in range(bins.shape[1]):
        of_texture = max(column - channels, 0)
        starts[column] = COLOUR_BINS * min(column, channels) + 2 * TEXTURE_BINS * of_texture
    total = COLOUR_BINS * channels + 2 * TEXTURE_BINS * DIRECTIONS * channels
    histograms = np.zeros((count, total), np.int32)
    sizes, boxes = np.zeros(count, np.int32), np.zeros((count, 4), np.int32)
    boxes[:, 0], boxes[:, 1] = width, height
    for y in range(height):
        for x in range(width):
            region, pixel = labels[y, x], y * width + x
            sizes[region] += 1
            _extend(boxes[region], x, y, x + 1, y + 1)
            row = histograms[region]
            for column in range(bins.shape[1]):
                row[starts[column] + bins[pixel, column]] += 1
    # A derivative of one sign is zero for the other: these zeros are counted here, not pixel by pixel.
    for region in range(count):
        for first in range(COLOUR_BINS * channels, total, TEXTURE_BINS):
            seen = histograms[region, first : first + TEXTURE_BINS].sum()
            histograms[region, first] += sizes[region] - seen
    return sizes, boxes, histograms


@njit(cache=True, nogil=True)
def _extend(box, x1, y1, x2, y2):
    """Grow a box in place until it holds another one."""
    box[0], box[1] = min(box[0], x1), min(box[1], y1)
    box[2], box[3] = max(box[2], x2), max(box[3], y2)


@njit(cache=True, nogil=True)
def neighbours(labels, count):
    """Pairs of segments that touch, by a side or a corner: int32 (E, 2), the smaller number first."""
    found = _touching(labels)
    starts = np.zeros(count + 1, np.int64)
    for i in range(len(found)):
        starts[found[i, 0] + 1] += 1
    starts = np.cumsum(starts)
    grouped, place = np.empty(len(found), np.int32), starts.copy()
    for i in range(len(found)):
        grouped[place[found[i, 0]]] = found[i, 1]
        place[found[i, 0]] += 1
    pairs, seen, total = found, np.full(count, -1, np.int32), 0  # found has been copied
    for first in range(count):
        for i in range(starts[first], starts[first + 1]):
            second = grouped[i]
            if seen[second] != first:
                seen[second] = first
                pairs[total, 0], pairs[total, 1] = first, second
                total += 1
    return pairs[:total].copy()


@njit(cache=True, nogil=True)
def _touching(labels):
    """Every pair of 8-neighbours with different labels, (N, 2), the smaller label first."""
    height, width = labels.shape
    found, count = np.empty((4096, 2), np.int32), 0
    for y in range(height):
        if count + 4 * width > len(found):
            larger = np.empty((2 * len(found) + 4 * width, 2), np.int32)
            larger[:count] = found[:count]
            found = larger
        for x in range(width):
            label = labels[y, x]
            for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
                if y + down < height and 0 <= x + right < width:
                    other = labels[y + down, x + right]
                    if other != label:
                        found[count, 0], found[count, 1] = min(label, other), max(label, other)
                        count += 1
    return found[:count]


@njit(cache=True, nogil=True)
def group(sizes, boxes, histograms, pairs, channels, pixels, terms):
    """Merge the two most similar neighbours until one region is left (Uijlings et al. 2013, algorithm 1).

    Among equally similar pairs the one with the smaller numbers comes first.

    Args:
        sizes, boxes, histograms: what :func:`describe` returns of S segments that hang together.
        pairs: int32 (E, 2), who touches whom.
        channels: C, how many colour channels the histograms are of.
        pixels: of the image.
        terms: bool (4,): which of colour, texture, size and fill make up the similarity.

    Returns:
        boxes: int32 (2 S - 1, 4), of the segments and then of the merged regions as they come.
        merges: int32 (S - 1, 2), the two regions that region S, S + 1, ... is made of.
    """
    count = len(sizes)
    total = 2 * count - 1
    size, box = np.empty(total, np.int64), np.empty((total, 4), np.int32)
    size[:count], box[:count], counts = sizes, boxes, histograms.copy()
    row = np.arange(total)  # where a region's histogram is: a merged one takes the place of its first
    owner, alive = np.arange(total), np.ones(total, np.bool_)
    merges, seen = np.empty((count - 1, 2), np.int32), np.full(total, -1, np.int64)
    first, last, after, region = _neighbour_lists(pairs, total)
    queue = [(0.0, 0, 0)]
    queue.pop()
    for a, b in pairs:
        queue.append(
            (-_similarity(a, b, size, box, counts, row, channels, pixels, terms), np.int64(a), np.int64(b))
        )
    heapify(queue)
    for new in range(count, total):
        _, a, b = heappop(queue)
        while not (alive[a] and alive[b]):
            _, a, b = heappop(queue)
        merges[new - count, 0], merges[new - count, 1] = a, b
        alive[a] = alive[b] = False
        owner[a] = owner[b] = new
        size[new], box[new] = size[a] + size[b], box[a]
        _extend(box[new], box[b, 0], box[b, 1], box[b, 2], box[b, 3])
        row[new] = row[a]
        counts[row[a]] += counts[row[b]]
        _join_lists(new, a, b, first, last, after, region, owner, seen)
        node = first[new]
        while node >= 0:
            other = region[node]
            similarity = _similarity(other, new, size, box, counts, row, channels, pixels, terms)
            heappush(queue, (-similarity, other, np.int64(new)))
            node = after[node]
    return box, merges


@njit(cache=True, nogil=True)
def _neighbour_lists(pairs, total):
    """Linked lists: a region's first and last node, a node's next one and the region it stands for."""
    first, last = np.full(total, -1, np.int64), np.full(total, -1, np.int64)
    after, region = np.full(2 * len(pairs), -1, np.int64), np.empty(2 * len(pairs), np.int64)
    for node in range(2 * len(pairs)):
        at = pairs[node // 2, node % 2]
        region[node] = pairs[node // 2, 1 - node % 2]
        if last[at] < 0:
            first[at] = node
        else:
            after[last[at]] = node
        last[at] = node
    return first, last, after, region


@njit(cache=True, nogil=True)
def _join_lists(new, a, b, first, last, after, region, owner, seen):
    """The neighbours of a and of b become those of the new region, each once and by its present number."""
    after[last[a]] = first[b]
    node, first[new], last[new] = first[a], -1, -1
    while node >= 0:
        other, following = _owner(owner, region[node]), after[node]
        if other != new and seen[other] != new:
            seen[other] = new
            region[node], after[node] = other, -1
            if last[new] < 0:
                first[new] = node
            else:
                after[last[new]] = node
            last[new] = node
        node = following


@njit(cache=True, nogil=True)
def _owner(owner, region):
    while owner[region] != region:
        owner[region] = owner[owner[region]]
        region = owner[region]
    return region


@njit(cache=True, nogil=True)
def _similarity(a, b, size, box, counts, row, channels, pixels, terms):
    """Mean of the chosen terms, each in [0, 1] (Uijlings et al. 2013, eq. 1, 3, 4, 5)."""
    result = 0.0
    colours = COLOUR_BINS * channels
    both = float(size[a] * size[b])
    one, other = counts[row[a]], counts[row[b]]
    if terms[0]:
        result += _overlap(one[:colours], other[:colours], size[a], size[b]) / (channels * both)
    if terms[1]:
        shared = _overlap(one[colours:], other[colours:], size[a], size[b])
        result += shared / (2 * DIRECTIONS * channels * both)
    if terms[2]:
        result += 1 - (size[a] + size[b]) / pixels
    if terms[3]:
        width = max(box[a, 2], box[b, 2]) - min(box[a, 0], box[b, 0])
        height = max(box[a, 3], box[b, 3]) - min(box[a, 1], box[b, 1])
        result += 1 - (width * height - size[a] - size[b]) / pixels
    return result / (terms[0] + terms[1] + terms[2] + terms[3])


@njit(cache=True, nogil=True, fastmath={'reassoc', 'nnan', 'nsz'})  # the sum is exact in any order
def _overlap(one, other, size, other_size):
    """Histogram intersection of two regions, times both sizes."""
    total = 0.0
    for i in range(len(one)):
        x, y = one[i] * float(other_size), other[i] * float(size)
        total += x if x < y else y
    return total
