"""Leopart from its formulas, one cell at a time: foreground, codes, values read on a common grid."""

import math

import torch


def blurred(saliency, sigma):
    """(h, w) by a normalised Gaussian of 7 x 7 cells; beyond the edge cells are mirrored."""
    h, w = saliency.shape

    def mirrored(i, n):
        i = abs(i)
        return i if i < n else 2 * (n - 1) - i

    taps = [math.exp(-(d**2) / (2 * sigma**2)) for d in range(-3, 4)]
    taps = [t / sum(taps) for t in taps]
    out = torch.zeros_like(saliency)
    for y in range(h):
        for x in range(w):
            for dy in range(-3, 4):
                for dx in range(-3, 4):
                    out[y, x] += (
                        taps[dy + 3] * taps[dx + 3] * saliency[mirrored(y + dy, h), mirrored(x + dx, w)]
                    )
    return out


def components(mask):
    """Lists of the cells of each 8-connected component of a set of cells."""
    left, found = set(mask), []
    while left:
        todo, part = [left.pop()], []
        while todo:
            y, x = todo.pop()
            part.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            todo += near
        found.append(part)
    return found


def foreground(saliency, mass, sigma):
    """(h, w) -> the cells of the largest values that hold ``mass``, in components of 3 cells or more."""
    values = blurred(saliency, sigma)
    cells = [(y, x) for y in range(values.shape[0]) for x in range(values.shape[1])]
    held, chosen, total = 0.0, [], values.sum().item()
    for y, x in sorted(cells, key=lambda c: -values[c].item()):
        if held >= mass * total - 1e-12:
            break
        held += values[y, x].item()
        chosen.append((y, x))
    found = torch.zeros(values.shape, dtype=torch.bool)
    for part in components(chosen):
        if len(part) > 2:
            for cell in part:
                found[cell] = True
    return found


def codes(scores, epsilon, iterations):
    """(B, K): in turn each prototype gets 1/K, each row 1/B, of exp(scores / epsilon)."""
    q = (scores / epsilon).exp()
    for _ in range(iterations):
        q = q / q.sum(0, keepdim=True) / q.shape[1]
        q = q / q.sum(1, keepdim=True) / q.shape[0]
    return q * q.shape[0]


def corners(view, place, grid):
    """Up to four (cell, share) whose values make up the value at a place of the original image."""
    box, flipped = view
    u, v = ((place[i] - box[i]) / (box[2 + i] - box[i]) for i in (0, 1))
    u = 1 - u if flipped else u
    found = []
    x, y = (min(max(s * n - 0.5, 0), n - 1) for s, n in ((u, grid[1]), (v, grid[0])))
    for row, down in ((math.floor(y), 1 - y % 1), (math.floor(y) + 1, y % 1)):
        for column, across in ((math.floor(x), 1 - x % 1), (math.floor(x) + 1, x % 1)):
            if down * across > 1e-9:  # more than rounding
                found.append(((row, column), down * across))
    return found


def places(box, other, size, samples):
    """For each cell of a grid over what two crops share, the places whose mean it is; None: nothing."""
    near = [max(box[i], other[i]) for i in (0, 1)]
    far = [min(box[i + 2], other[i + 2]) for i in (0, 1)]
    if far[0] <= near[0] or far[1] <= near[1]:
        return None
    step = [(far[i] - near[i]) / size / samples for i in (0, 1)]
    return [
        [
            (near[0] + (x * samples + i + 0.5) * step[0], near[1] + (y * samples + j + 0.5) * step[1])
            for j in range(samples)
            for i in range(samples)
        ]
        for y in range(size)
        for x in range(size)
    ]


def value(maps, view, points):
    """(C, h, w) read at places: mean of bilinear values."""
    parts = [
        share * maps[:, row, column]
        for point in points
        for (row, column), share in corners(view, point, maps.shape[1:])
    ]
    return sum(parts) / len(points)


def inside(mask, view, points):
    """Whether all cells that a value is made of are in the mask."""
    return all(mask[cell] for point in points for cell, _ in corners(view, point, mask.shape))


def prediction(student, made, masks, views, size, samples, temperature):
    """Cross entropy of a pair, mean over the places of all images that show the teacher's foreground.

    ``student`` and ``made`` (codes) are (B, K, h, w), ``masks`` (B, h, w) bool; ``views`` is, of student and
    teacher, one (box, flipped) an image.
    """
    terms = []
    for image in range(len(student)):
        mine, theirs = views[0][image], views[1][image]
        for points in places(mine[0], theirs[0], size, samples) or ():
            if inside(masks[image], theirs, points):
                shares = (value(student[image], mine, points) / temperature).log_softmax(0)
                terms.append(-(value(made[image], theirs, points) * shares).sum())
    return sum(terms) / max(len(terms), 1) + 0.0 * student.sum()
