"""Means of a feature map over a box, from the definition."""

import torch
import torch.nn.functional as F


def mean_over(level, box, size):
    """(C, H, W), one box in pixels: between centres of cells the map is bilinear, and the middle of a
    rectangle has its mean."""
    height, width = level.shape[1:]

    def pieces(near, far, cells):
        edges = [near, *(i + 0.5 for i in range(cells) if near < i + 0.5 < far), far]
        return [((a + b) / 2, (b - a) / (far - near)) for a, b in zip(edges[:-1], edges[1:], strict=True)]

    x1, y1, x2, y2 = (
        float(value) * side / full
        for value, side, full in zip(box, (width, height) * 2, (size[1], size[0]) * 2, strict=True)
    )
    total = 0
    for y, part in pieces(y1, y2, height):
        for x, share in pieces(x1, x2, width):
            place = torch.tensor([[[[2 * x / width - 1, 2 * y / height - 1]]]], dtype=level.dtype)
            read = F.grid_sample(level[None], place, padding_mode='border', align_corners=False)
            total = total + part * share * read.flatten()
    return total


def attention_pool(level, tensors, heads):
    """(C, H, W) in float64 and CLIP's ``attnpool`` tensors -> (D,): every head written out, one query."""
    t = {name: tensor.double() for name, tensor in tensors.items()}
    cells = level.double().flatten(1).T
    tokens = torch.cat([cells.mean(0)[None], cells]) + t['positional_embedding']
    apply = lambda name, x: x @ t[f'{name}_proj.weight'].T + t[f'{name}_proj.bias']  # noqa: E731
    query, key, value = apply('q', tokens[0]), apply('k', tokens), apply('v', tokens)
    wide, mixed = len(query) // heads, []
    for head in range(heads):
        own = slice(head * wide, (head + 1) * wide)
        scores = torch.stack([(query[own] * row[own]).sum() for row in key]) / wide**0.5
        shares = scores.exp() / scores.exp().sum()
        mixed.append(sum(share * row[own] for share, row in zip(shares, value, strict=True)))
    return apply('c', torch.cat(mixed))
