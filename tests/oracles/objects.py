"""Object discovery, boxes and logistic regression in float64, with loops."""

import numpy as np


def lost(features, k):
    """The box of (C, h, w): x0 y0 x1 y1 in cells, from degrees, expansion and a flood fill."""
    _, height, width = features.shape
    cells = np.float64(features).reshape(len(features), -1).T
    count = len(cells)
    dot = [[float(a @ b) for b in cells] for a in cells]
    degree = [sum(dot[i][j] > 0 for j in range(count) if j != i) for i in range(count)]
    order = sorted(range(count), key=lambda i: (degree[i], i))
    seed = order[0]
    joined = [i for i in order[:k] if dot[seed][i] > 0]
    inside = {i for i in range(count) if sum(dot[s][i] for s in joined) > 0} | {seed}
    part, edge = {seed}, [seed]
    while edge:
        y, x = divmod(edge.pop(), width)
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if 0 <= v < height and 0 <= u < width and v * width + u in inside - part:
                part.add(v * width + u)
                edge.append(v * width + u)
    ys, xs = zip(*(divmod(i, width) for i in part), strict=True)
    return [min(xs), min(ys), max(xs) + 1, max(ys) + 1]


def box_mean(image, box, fine):
    """Mean of (C, h, w) in a box whose corners lie on a grid of ``fine`` lines a cell."""
    image = np.float64(image).repeat(fine, 1).repeat(fine, 2)
    sides = np.array([image.shape[2], image.shape[1]] * 2)
    x0, y0, x1, y1 = (np.float64(box) * sides).round().astype(int)
    return image[:, y0:y1, x0:x1].mean((1, 2))


def logistic(queries, bank, labels, decay, steps=20000, rate=0.5):
    """Predicted classes by plain gradient descent on standardised channels."""
    bank, queries = np.float64(bank), np.float64(queries)
    mean, deviation = bank.mean(0), bank.std(0) + 1e-5
    bank, queries = (bank - mean) / deviation, (queries - mean) / deviation
    wanted = np.eye(labels.max() + 1)[labels]
    weight, bias = np.zeros((bank.shape[1], wanted.shape[1])), np.zeros(wanted.shape[1])
    for _ in range(steps):
        scores = bank @ weight + bias
        shares = np.exp(scores - scores.max(1, keepdims=True))
        error = (shares / shares.sum(1, keepdims=True) - wanted) / len(bank)
        weight -= rate * (bank.T @ error + decay * weight)
        bias -= rate * error.sum(0)
    return (queries @ weight + bias).argmax(1)
