"""Vector quantisation and VQ-KD's loss in float64, one vector at a time, from the formulas."""

import math


def length_one(vector):
    length = math.sqrt(sum(v * v for v in vector))
    return [v / length for v in vector]


def nearest_code(vector, codebook):
    """The number of the code with the smallest squared distance."""
    distances = [sum((a - b) ** 2 for a, b in zip(vector, code, strict=True)) for code in codebook]
    return distances.index(min(distances))


def moved(codebook, vectors, ids, decay):
    """Each code after a step of its moving average; one without vectors has itself as its target."""
    found = []
    for number, code in enumerate(codebook):
        own = [vector for vector, i in zip(vectors, ids, strict=True) if i == number]
        mean = [sum(column) / len(own) for column in zip(*own, strict=True)] if own else code
        target = length_one(mean)
        found.append(length_one([decay * a + (1 - decay) * b for a, b in zip(code, target, strict=True)]))
    return found


def kmeans_by_cosine(vectors, codes, iterations):
    """Lloyd's steps from vectors at equal distances; an empty centre stays."""
    centres = [vectors[i * len(vectors) // codes] for i in range(codes)]
    for _ in range(iterations):
        cosines = [[sum(a * b for a, b in zip(v, c, strict=True)) for c in centres] for v in vectors]
        ids = [row.index(max(row)) for row in cosines]
        centres = moved(centres, vectors, ids, 0.0)
    return centres


def cosine(first, second):
    return sum(a * b for a, b in zip(length_one(first), length_one(second), strict=True))


def squared_distance(first, second):
    """Mean over the channels."""
    return sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) / len(first)
