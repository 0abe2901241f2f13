"""Label-free meters in float64, from their definitions, with loops over cells and NumPy's SVD."""

import math

import numpy as np


def dse_terms(maps, cluster, shuffle):
    """(inter, intra_batch, intra_image, dim) of (B, C, h, w).

    ``cluster(rows, k)`` gives centres and ids, ``shuffle(n)`` a permutation; they are asked in the order of
    the definition: groups, images, then one permutation an image.
    """
    cells = np.float64(maps.flatten(2).transpose(1, 2))
    count, places, channels = cells.shape
    middle = cells.reshape(-1, channels).mean(0)
    scale = np.mean([np.linalg.norm(cell - middle) for cell in cells.reshape(-1, channels)])

    def spreads(rows, ids):
        found = []
        for c in sorted(set(ids.tolist())):
            own = rows[ids == c]
            if len(own) > 1:
                total = np.linalg.svd(own - own.mean(0), compute_uv=False).sum()
                found.append(total / math.sqrt(max(len(own) - 1, channels)))
        return found

    inter, batch, image = [], [], []
    for start in range(0, count, 8):
        rows = cells[start : start + 8].reshape(-1, channels)
        centres, ids = cluster(rows, 24)
        others = [
            min(np.linalg.norm(row - c) for i, c in enumerate(centres) if i != own)
            for row, own in zip(rows, ids, strict=True)
        ]
        inter.append(np.mean(others))
        batch += spreads(rows, ids)
    for rows in cells:
        image.append(np.mean(spreads(rows, cluster(rows, 3)[1])))
    orders = [shuffle(places) for _ in range(count)]
    ranks = []
    for n in range(places):
        matrix = np.stack([cells[b, orders[b][n]] for b in range(count)])
        values = np.linalg.svd(matrix, compute_uv=False)
        share = values / values.sum() + 1e-12
        ranks.append(math.exp(-(share * np.log(share)).sum()) / min(count, channels))
    return np.mean(inter) / scale, np.mean(batch) / scale, np.mean(image) / scale, np.mean(ranks)


def correspondence(first, second, place):
    """(accuracy, chance, same_index); ``place(b, y, x)`` is where a share of the sides goes in the second."""
    count, channels, height, width = first.shape
    hits, chances, same = [], [], []
    for b in range(count):
        for y in range(height):
            for x in range(width):
                ty, tx = place(b, (y + 0.5) / height, (x + 0.5) / width)
                if not (0 < ty < 1 and 0 < tx < 1):
                    continue

                def near(v, u, ty=ty, tx=tx):
                    apart = abs(v + 0.5 - ty * height), abs(u + 0.5 - tx * width)
                    return max(apart) <= 1 + 1e-4

                def cosine(v, u, b=b, y=y, x=x):
                    p, q = np.float64(first[b, :, y, x]), np.float64(second[b, :, v, u])
                    return p @ q / np.linalg.norm(p) / np.linalg.norm(q)

                cells = [(v, u) for v in range(height) for u in range(width)]
                best = max(cells, key=lambda cell: cosine(*cell))
                hits.append(near(*best))
                chances.append(np.mean([near(*cell) for cell in cells]))
                if not near(y, x):
                    same.append(best == (y, x))
    return np.mean(hits), np.mean(chances), np.mean(same) if same else math.nan


def cka(first, second):
    """Linear CKA from the two centred Gram matrices of all cells."""
    x, y = (np.float64(m.transpose(0, 1).flatten(1).T) for m in (first, second))
    x, y = x - x.mean(0), y - y.mean(0)
    k, m = x @ x.T, y @ y.T
    return (k * m).sum() / np.linalg.norm(k) / np.linalg.norm(m)
