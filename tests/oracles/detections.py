"""A detector's losses without classes in float64, with loops over boxes, anchors and pairs."""

import math
from itertools import combinations

import torch


def iou(a, b):
    """Of two boxes, lists of four numbers."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def assigned(anchors, boxes, above, below):
    """For each anchor the number of its box, None (background) or 'ignored'."""
    found = []
    for anchor in anchors:
        overlaps = [iou(anchor, box) for box in boxes]
        most = max(overlaps, default=0.0)
        if most >= above:
            found.append(overlaps.index(most))
        else:
            found.append(None if most < below else 'ignored')
    for k, box in enumerate(boxes):
        overlaps = [iou(anchor, box) for anchor in anchors]
        if max(overlaps) >= below:
            for a, overlap in enumerate(overlaps):
                if overlap == max(overlaps):
                    found[a] = k
    return found


def offsets(anchor, box, stds):
    """From an anchor to a box."""
    w, h = anchor[2] - anchor[0], anchor[3] - anchor[1]
    dx = (box[0] + box[2] - anchor[0] - anchor[2]) / 2 / w
    dy = (box[1] + box[3] - anchor[1] - anchor[3]) / 2 / h
    dw, dh = math.log((box[2] - box[0]) / w), math.log((box[3] - box[1]) / h)
    return [d / s for d, s in zip((dx, dy, dw, dh), stds, strict=True)]


def drawn_proposal_losses(anchors, boxes, logits, predicted, stds, samples, above, below):
    """Both losses of a batch, the mean over all draws of ``samples`` anchors of each image.

    ``boxes`` is a list of lists; an image has fewer positives than ``samples``. As each image's draw enters
    both sums alone, the mean over its draws does.
    """
    count, entropy, distance = 0, 0.0, 0.0
    for i, there in enumerate(boxes):
        found = assigned(anchors, there, above, below)
        positives = [a for a, k in enumerate(found) if isinstance(k, int)]
        negatives = [a for a, k in enumerate(found) if k is None]
        draws = list(combinations(negatives, min(len(negatives), samples - len(positives))))
        count += len(positives) + len(draws[0])
        for a in positives:
            entropy = entropy - logits[i, a].sigmoid().log()
            wanted = offsets(anchors[a], there[found[a]], stds)
            distance = distance + sum((predicted[i, a, c] - wanted[c]).abs() for c in range(4))
        for draw in draws:
            for a in draw:
                entropy = entropy - (1 - logits[i, a].sigmoid()).log() / len(draws)
    return entropy / count, distance / count


def contrast(online, labels, target, target_labels, t):
    """The mean over labels of the mean over pairs of one label, each against the vectors of other labels.

    ``online`` and ``target`` are lists of vectors with labels that no two images share; those of the online
    side are negatives without gradient.
    """
    online, target = ([v / v.norm() for v in side] for side in (online, target))
    losses = []
    for label in dict.fromkeys(labels):
        terms = []
        others = [v.detach() for v, own in zip(online, labels, strict=True) if own != label]
        others += [v for v, own in zip(target, target_labels, strict=True) if own != label]
        for query in (v for v, own in zip(online, labels, strict=True) if own == label):
            far = sum((query @ other / t).exp() for other in others)
            for key in (v for v, own in zip(target, target_labels, strict=True) if own == label):
                near = (query @ key / t).exp()
                terms.append(-(near / (near + far)).log())
        losses.append(torch.stack(terms).mean())
    return torch.stack(losses).mean()


def proposals_of(boxes, scores, proposals, count, overlap):
    """For each box the numbers of its proposals, those of the highest scores first."""
    found = [[] for _ in boxes]
    for c in sorted(range(len(proposals)), key=lambda c: -scores[c]):
        overlaps = [iou(proposals[c], box) for box in boxes]
        k = max(range(len(boxes)), key=lambda k: (overlaps[k], -k))
        if overlaps[k] >= overlap and len(found[k]) < count:
            found[k].append(c)
    return found
