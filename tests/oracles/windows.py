"""Attention in windows of a map, with scores of distances, cell by cell, as ViTDet and MViTv2 say."""

import torch


def attended(x, weights, heads, side=None, rows=None, columns=None):
    """One map (h, w, C) behind the norm -> (h, w, C) behind the projection.

    weights: matrix and bias of query, key and value, and of the projection. side: of a window, None: the map
    is one. Windows begin at multiples of ``side``; what of them lies outside of the map is zero, and has the
    biases as key and value. rows, columns: a vector for each distance, from the most negative on.
    """
    (h, w, channels), (matrix, bias, out_matrix, out_bias) = x.shape, weights
    side_y, side_x = (h, w) if side is None else (side, side)
    width = channels // heads
    result = torch.zeros_like(x)
    for y in range(h):
        for z in range(w):
            top, left = y // side_y * side_y, z // side_x * side_x
            cells = [(a, b) for a in range(top, top + side_y) for b in range(left, left + side_x)]
            inputs = [x[a, b] if a < h and b < w else torch.zeros_like(x[0, 0]) for a, b in cells]
            said = [matrix @ each + bias for each in inputs]
            query, joined = matrix @ x[y, z] + bias, []
            for head in range(heads):
                first = [i * channels + head * width for i in range(3)]
                q, k, v = (slice(start, start + width) for start in first)
                scores = []
                for (a, b), each in zip(cells, said, strict=True):
                    score = query[q] @ each[k] / width**0.5
                    if rows is not None:
                        vector = rows[y - a + side_y - 1] + columns[z - b + side_x - 1]
                        score = score + query[q] @ vector
                    scores.append(score)
                shares = torch.stack(scores).softmax(0)
                joined.append(sum(share * each[v] for share, each in zip(shares, said, strict=True)))
            result[y, z] = out_matrix @ torch.cat(joined) + out_bias
    return result
