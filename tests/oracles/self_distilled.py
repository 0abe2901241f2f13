"""What self-distilled transformers add, from the formulas: one vector at a time, differentiable."""

import math

import torch


def of_length_one(row, eps=1e-8):
    """A vector over its length, or over eps where it is shorter."""
    length = sum(v * v for v in row) ** 0.5 if bool((row != 0).any()) else row.sum() * 0
    return row / max(length, eps)


def koleo(x, eps=1e-8):
    """The mean of -log(distance to the nearest other vector + eps); eps is added to each coordinate too."""
    rows = [of_length_one(row, eps) for row in x]
    total = 0.0
    for i, row in enumerate(rows):
        others = [j for j in range(len(rows)) if j != i]
        nearest = min(others, key=lambda j: math.dist(row.tolist(), rows[j].tolist()))
        distance = sum((a - b + eps) ** 2 for a, b in zip(row, rows[nearest], strict=True)) ** 0.5
        total = total - torch.log(distance + eps)
    return total / len(rows)


def masked_token_loss(student, teacher, masks, temperature):
    """Every masked token's cross entropy over its crop's count; the sum over the number of crops."""
    total, row = 0.0, 0
    for mask in masks.tolist():
        for _ in range(sum(mask)):
            below = torch.log(sum(torch.exp(x / temperature) for x in student[row]))
            for probability, logit in zip(teacher[row], student[row], strict=True):
                total = total - probability * (logit / temperature - below) / sum(mask)
            row += 1
    return total / len(masks)


def sinkhorn(scores, temperature, iterations=3):
    """DINOv2's form: prototypes in rows of Q, every sum written out, the samples' step last."""
    samples, prototypes = scores.shape
    q = [[math.exp(float(scores[b, k]) / temperature) for b in range(samples)] for k in range(prototypes)]
    total = sum(map(sum, q))
    q = [[x / total for x in row] for row in q]
    for _ in range(iterations):
        q = [[x / sum(row) / prototypes for x in row] for row in q]
        columns = [sum(row[b] for row in q) for b in range(samples)]
        q = [[x / columns[b] / samples for b, x in enumerate(row)] for row in q]
    return torch.tensor(q, dtype=torch.float64).T * samples


def gram(student, teacher):
    """The mean over images and pairs of tokens of the squared difference of their cosines."""
    terms = []
    for pair in zip(student, teacher, strict=True):
        mine, other = ([of_length_one(row, 1e-12) for row in side] for side in pair)
        tokens = range(len(mine))
        terms += [
            ((mine[i] * mine[j]).sum() - (other[i] * other[j]).sum()) ** 2 for i in tokens for j in tokens
        ]
    return sum(terms) / len(terms)


def cubic(distance, a=-0.75):
    """Keys' kernel of cubic convolution, with the slope that torch has."""
    x = abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def bicubic(image, size):
    """(H, W) read at the centres of ``size`` x ``size`` cells; beyond the border the outermost value."""
    height, width = image.shape
    read = torch.zeros(size, size, dtype=image.dtype)
    for row in range(size):
        for column in range(size):
            y, x = (row + 0.5) * height / size - 0.5, (column + 0.5) * width / size - 0.5
            for v in range(math.floor(y) - 1, math.floor(y) + 3):
                for u in range(math.floor(x) - 1, math.floor(x) + 3):
                    value = image[min(max(v, 0), height - 1), min(max(u, 0), width - 1)]
                    read[row, column] += cubic(y - v) * cubic(x - u) * value
    return read
