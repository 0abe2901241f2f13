"""What post-training and distillation compare, from the formulas: one number at a time, differentiable."""

import math

import torch

from .self_distilled import of_length_one


def cosine(x, y):
    return (of_length_one(x, 1e-12) * of_length_one(y, 1e-12)).sum()


def comparators(wires):
    """Batcher's bitonic sorter of a power of two wires: layers of (smaller to, larger to), by recursion."""

    def merge(low, count, up):
        if count == 1:
            return []
        half = count // 2
        pairs = [(low + i, low + i + half) for i in range(half)]
        first = [pair if up else pair[::-1] for pair in pairs]
        parts = [merge(low, half, up), merge(low + half, half, up)]
        return [first, *([*a, *b] for a, b in zip(*parts, strict=True))]

    def sort(low, count, up):
        if count == 1:
            return []
        half = count // 2
        parts = [sort(low, half, True), sort(low + half, half, False)]
        return [*([*a, *b] for a, b in zip(*parts, strict=True)), *merge(low, count, up)]

    return sort(0, wires, True)


def soft_places(values, steepness):
    """share[i][k]: how much of number i is in place k, by following every comparator."""
    count = len(values)
    wires = 1
    while wires < count:
        wires *= 2
    first = wires - count
    x = [None] * first + list(values)
    share = [[float(i == k) for k in range(count)] for i in range(count)]
    for layer in comparators(wires):
        for low, high in layer:
            if low < first or high < first:
                continue
            a, b = x[low], x[high]
            p = 0.5 + torch.atan(steepness * (b - a)) / math.pi
            x[low], x[high] = p * a + (1 - p) * b, (1 - p) * a + p * b
            for row in share:
                a, b = row[low - first], row[high - first]
                row[low - first], row[high - first] = p * a + (1 - p) * b, (1 - p) * a + p * b
    return share


def neco(student, teacher, reference, student_steepness, teacher_steepness):
    """(B, D, h, w) three times: cross entropy over places, mean over patches and references."""
    terms = []
    for s, t, r in zip(student, teacher, reference, strict=True):
        s, t, r = (x.flatten(1).T for x in (s, t, r))
        for mine, other in zip(s, t, strict=True):
            wanted = soft_places([cosine(other, x) for x in r], teacher_steepness)
            found = soft_places([cosine(mine, x) for x in r], student_steepness)
            for q, p in zip(wanted, found, strict=True):
                terms.append(-sum(a.detach() * torch.log(b) for a, b in zip(q, p, strict=True)))
    return sum(terms) / len(terms)


def kernel_alignment(student, teacher, ignore=None):
    """By H K H with H = I - 1/n, written out; images with fewer than two tokens are left out."""
    terms = []
    for b, (s, t) in enumerate(zip(student, teacher, strict=True)):
        kept = [i for i in range(len(s)) if ignore is None or not ignore[b, i]]
        if len(kept) < 2:
            continue
        h = torch.eye(len(kept), dtype=s.dtype) - 1 / len(kept)
        k, g = (h @ (x[kept] @ x[kept].T) @ h for x in (s, t))
        terms.append(1 - (k * g).sum() / ((k * k).sum() * (g * g).sum()).sqrt())
    return sum(terms) / len(terms)


def shares(scores, temperature):
    top = max(float(s) for s in scores)
    powers = [torch.exp((s - top) / temperature) for s in scores]
    return [p / sum(powers) for p in powers]


def kl(student, teacher, temperature):
    pairs = zip(shares(teacher, temperature), shares(student, temperature), strict=True)
    return sum(p * torch.log(p / q) for p, q in pairs)


def queue_distillation(student, teacher, queue, temperature):
    """(B, D), (B, D), (K, D) unit vectors."""
    terms = [
        kl([(s * x).sum() for x in queue], [(t * x).sum() for x in queue], temperature)
        for s, t in zip(student, teacher, strict=True)
    ]
    return sum(terms) / len(terms)


def similarity_distillation(student, teacher, temperature):
    """(B, N, D) unit vectors: each token's similarities to all of its image."""
    terms = []
    for s, t in zip(student, teacher, strict=True):
        for i in range(len(s)):
            rows = ([(x[i] * y).sum() for y in x] for x in (s, t))
            terms.append(kl(*rows, temperature))
    return sum(terms) / len(terms)


def in_context(query, support, labels, support_labels, temperature):
    """(B, N, D), (B, P, D), (B, N, K), (B, P, K): sum over neighbours and labels, token by token."""
    terms = []
    for q, s, y, z in zip(query, support, labels, support_labels, strict=True):
        seen = [k for k in range(y.shape[1]) if any(float(row[k]) > 0 for row in z)]
        for token, mine in zip(q, y, strict=True):
            whole = sum(mine[k] for k in seen) if seen else 0
            if not whole:
                continue
            near = shares([cosine(token, x) for x in s], temperature)
            votes = [sum(p * row[k] for p, row in zip(near, z, strict=True)) for k in seen]
            each = zip(seen, votes, strict=True)
            terms.append(-sum(mine[k] / whole * torch.log(vote) for k, vote in each))
    return sum(terms) / max(len(terms), 1)


def without_directions(features, rounds):
    """(N, D) rows without their parts along the span of each round's two directions: by the normal equations
    of a plane, one number at a time."""
    rows = [x.clone() for x in features]
    for a, b in rounds:
        aa, ab, bb = (a * a).sum(), (a * b).sum(), (b * b).sum()
        for i, x in enumerate(rows):
            xa, xb = (x * a).sum(), (x * b).sum()
            s, t = (bb * xa - ab * xb) / (aa * bb - ab**2), (aa * xb - ab * xa) / (aa * bb - ab**2)
            rows[i] = x - s * a - t * b
    return torch.stack(rows)


def position_loss(features, rounds, weights):
    """(B, D, h, w), (R, 2, D) and (2, D): mean squared error of sigmoids, row and column from 0 to 1."""
    terms = []
    for image in features:
        height, width = image.shape[1:]
        for i in range(height):
            for j in range(width):
                x = without_directions(image[:, i, j][None], rounds)[0]
                for w, true in zip(weights, (i / (height - 1), j / (width - 1)), strict=True):
                    terms.append((1 / (1 + torch.exp(-(w * x).sum())) - true) ** 2)
    return sum(terms) / len(terms)
