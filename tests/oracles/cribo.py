"""CrIBo from its formulas, one cell and one object at a time: joint clusters, neighbours that agree."""

import math

import torch


def cosine(x, y):
    return (x @ y / x.norm() / y.norm()).item() if x.norm() > 0 and y.norm() > 0 else 0.0


def distance_costs(places, members):
    """[cell][cluster]: distance to the nearest other member, over the largest; mean where there is none."""
    rows = []
    for here in places:
        row = []
        for cluster in members:
            away = [math.dist(here, places[i]) for i in cluster]
            row.append(min((d for d in away if d > 0), default=0.0))
        rows.append(row)
    flat = [d for row in rows for d in row]
    mean = sum(flat) / len(flat)
    rows = [[d if d > 0 else mean for d in row] for row in rows]
    most = max(max(row) for row in rows)
    return [[d / most for d in row] for row in rows]


def plan(costs, sizes, sharpness, iterations):
    """Transport plan of (N, K) costs: cells weigh 1/N, clusters as ``sizes`` says."""
    p = torch.exp(-sharpness * costs)
    p = p / p.sum()
    for _ in range(iterations):
        p = p / p.sum(1, keepdim=True) / len(p)
        p = p / p.sum(0, keepdim=True) * sizes
    return p


def joint_clusters(cells, places, first, position_weight, sharpness, rounds, iterations):
    """The cluster of each cell, of each image of a batch."""
    count = len(first[0])
    members = [[[i] for i in chosen] for chosen in first]
    means = [[x[i] for i in chosen] for x, chosen in zip(cells, first, strict=True)]
    sizes = [torch.full((count,), 1 / count, dtype=cells[0].dtype) for _ in cells]
    for _ in range(rounds):
        costs = []
        for x, at, held, centres in zip(cells, places, members, means, strict=True):
            far = distance_costs(at, held)
            costs.append(
                torch.tensor(
                    [
                        [position_weight * far[i][k] - cosine(x[i], centres[k]) for k in range(count)]
                        for i in range(len(x))
                    ],
                    dtype=x.dtype,
                )
            )
        low, high = min(c.min() for c in costs), max(c.max() for c in costs)
        for b, x in enumerate(cells):
            shares = plan((costs[b] - low) / (high - low), sizes[b], sharpness, iterations)
            labels = shares.argmax(1).tolist()
            members[b] = [[i for i, label in enumerate(labels) if label == k] for k in range(count)]
            sizes[b] = torch.tensor([len(m) + 1e-2 for m in members[b]], dtype=x.dtype)
            sizes[b] = sizes[b] / sizes[b].sum()
            zero = torch.zeros_like(x[0])
            means[b] = [sum((x[i] / x[i].norm() for i in m), zero) for m in members[b]]
    return [
        [next(k for k, m in enumerate(held) if i in m) for i in range(len(x))]
        for held, x in zip(members, cells, strict=True)
    ]


def nearest(x, others):
    """The number of the most similar one of a list; None: there is none."""
    return max(range(len(others)), key=lambda i: cosine(x, others[i]), default=None)


def neighbour(number, rows, memory, twins, back):
    """The memory's place nearest to object ``number``, and whether its twin is nearest to that object."""
    place = nearest(rows[number], memory)
    return place, place is not None and nearest(twins[place], back) == number


def cross_entropy(student, teacher, center, student_temperature, teacher_temperature):
    """Of two rows of scores."""
    target = ((teacher - center) / teacher_temperature).softmax(0)
    return -(target * (student / student_temperature).log_softmax(0)).sum()
