"""Colours of one pixel at a time, in Python's floats, from the definitions of CIE 15 and IEC 61966-2-1."""

import math

_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)


def lab_of(rgb):
    """R, G, B in [0, 1] -> L, a, b; the white is that of R = G = B = 1."""
    light = [c / 12.92 if c <= 0.04045 else math.pow((c + 0.055) / 1.055, 2.4) for c in rgb]
    roots = []
    for row in _XYZ:
        t = sum(m * c for m, c in zip(row, light, strict=True)) / sum(row)
        # kappa and epsilon of CIE 15:2004
        roots.append(math.pow(t, 1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116)
    fx, fy, fz = roots
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def shares_of(a, b, bins, neighbours, sigma):
    """What each of the bins [(a, b), ...] gets of a colour; and the nearest one."""
    distances = [math.hypot(a - p, b - q) for p, q in bins]
    order = sorted(range(len(bins)), key=distances.__getitem__)[:neighbours]
    masses = {k: math.exp(-(distances[k] ** 2) / (2 * sigma**2)) for k in order}
    total = sum(masses.values())
    return [masses.get(k, 0.0) / total for k in range(len(bins))], order[0]


def class_weights(prior, uniform):
    """Zhang et al., eq. 4: w is proportional to 1 / ((1 - u) p + u / Q), and the sum of p w is 1."""
    raw = [1 / ((1 - uniform) * p + uniform / len(prior)) for p in prior]
    scale = sum(p * w for p, w in zip(prior, raw, strict=True))
    return [w / scale for w in raw]


def cross_entropy(logits, shares):
    """Minus the sum of share times log softmax."""
    total = sum(math.exp(x) for x in logits)
    return -sum(q * (x - math.log(total)) for q, x in zip(shares, logits, strict=True))


def mean_color(logits, bins, temperature):
    """The bins' mean by softmax(logits / temperature)."""
    masses = [math.exp(x / temperature) for x in logits]
    return [sum(m * p[i] for m, p in zip(masses, bins, strict=True)) / sum(masses) for i in (0, 1)]
