"""Scores of clusters in plain Python: sets of pixels, and every assignment tried."""

from itertools import permutations


def miou(prediction, truth, clusters, classes, matching):
    """Mean IoU in per cent over all classes; ``'hungarian'`` by trying all one-to-one assignments."""
    pairs = [(int(p), int(t)) for p, t in zip(prediction, truth, strict=True) if t != 255]
    found = [{i for i, (p, _) in enumerate(pairs) if p == k} for k in range(clusters)]
    true = [{i for i, (_, t) in enumerate(pairs) if t == c} for c in range(classes)]

    def iou(a, b):
        return len(a & b) / max(len(a | b), 1)

    if matching == 'many':
        scores = [[iou(f, t) for t in true] for f in found]
        class_of = {k: row.index(max(row)) for k, row in enumerate(scores)}
    else:
        nobody = max(classes - clusters, 0) * [None]  # a class without a cluster
        tried = permutations([*range(clusters), *nobody], classes)
        best = max(tried, key=lambda a: sum(iou(found[k], true[c]) for c, k in enumerate(a) if k is not None))
        class_of = dict.fromkeys(range(clusters), 0) | {k: c for c, k in enumerate(best) if k is not None}
    merged = [set().union(*(found[k] for k in range(clusters) if class_of[k] == c)) for c in range(classes)]
    return 100 * sum(iou(m, t) for m, t in zip(merged, true, strict=True)) / classes
