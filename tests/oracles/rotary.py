"""Rotary positions and CAPI's blocks, number by number in float64, from the formulas of the papers' codes."""

import math

import torch


def turned_dinov3(x, y_place, x_place, temperature=100.0):
    """A head's vector (list of D numbers) at a place in [-1, 1]^2: channels c and c + D / 2 are a plane."""
    d, found = len(x), list(x)
    for c in range(d // 2):
        place = y_place if c < d // 4 else x_place
        angle = 2 * math.pi * place / temperature ** (2 * (c % (d // 4)) / (d // 2))
        found[c] = x[c] * math.cos(angle) - x[c + d // 2] * math.sin(angle)
        found[c + d // 2] = x[c + d // 2] * math.cos(angle) + x[c] * math.sin(angle)
    return found


def turned_capi(x, y_place, x_place):
    """The first half of the channels has angles of y, the second half of x; partners are c and c + D / 2."""
    d, found = len(x), list(x)
    for c in range(d // 2):
        frequency = 7 * (1e-4) ** ((c % (d // 4)) / (d // 4 - 1))
        a, b = 2 * math.pi * frequency * y_place, 2 * math.pi * frequency * x_place
        found[c] = x[c] * math.cos(a) - x[c + d // 2] * math.sin(a)
        found[c + d // 2] = x[c + d // 2] * math.cos(b) + x[c] * math.sin(b)
    return found


def registers_of(count, seen):
    """Places of registers: clockwise (y down first) around the rectangle that the seen places span."""
    side = count // 4
    unit = [(i / side, 0.0) for i in range(side)] + [(1.0, i / side) for i in range(side)]
    unit += [(1 - i / side, 1.0) for i in range(side)] + [(0.0, 1 - i / side) for i in range(side)]
    (y0, y1), (x0, x1) = ((min(p[i] for p in seen), max(p[i] for p in seen)) for i in (0, 1))
    return [(y0 + y * (y1 - y0), x0 + x * (x1 - x0)) for y, x in unit]


def rms(x, weight=None):
    """x / sqrt(mean x^2 + 1e-5), of the last axis."""
    found = x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    return found if weight is None else found * weight


def attended(q, k, v, places, key_places, heads):
    """(N, C) queries and (M, C) keys and values of one image -> (N, C), both turned as CAPI's."""
    width, out = q.shape[1] // heads, []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        turn = [
            torch.tensor([turned_capi(row.tolist(), *p) for row, p in zip(x[:, part], at, strict=True)])
            for x, at in ((q, places), (k, key_places))
        ]
        shares = (turn[0].double() @ turn[1].double().T / width**0.5).softmax(1)
        out.append(shares @ v[:, part])
    return torch.cat(out, 1)


def gelu(x):
    """x Phi(x)."""
    return x * (1 + torch.erf(x / 2**0.5)) / 2
