"""The contrastive losses from the definition: one query at a time, in float64."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Row:
    """One query.

    Attributes:
        index: its place among all queries.
        negatives: (K,) cosines with the candidates, those of the query's label among them.
        positive: cosine with its answer.
        mates: (K,) bool, candidates of the query's label.
        positives: the cosines of all queries with their answers.
        extra: the further output of the projector, where there is one.
    """

    index: int
    negatives: Tensor
    positive: Tensor
    mates: Tensor
    positives: Tensor
    extra: Tensor | None = None


def plain(row, t=0.3):
    """InfoNCE."""
    p, n = (row.positive / t).exp(), (row.negatives / t).exp().sum()
    return -torch.log(p / (p + n))


def debiased(row, t=0.3, prior=0.1, beta=0.0):
    """Debiased, and with weights e^(beta s / t)."""
    s, m = row.negatives, len(row.negatives)
    p = (row.positive / t).exp()
    weights = (beta * s / t).exp()
    n = (weights * (s / t).exp()).sum() / weights.mean()
    n = torch.clamp((n - prior * m * p) / (1 - prior), min=m * (-1 / torch.as_tensor(t)).exp())
    return -torch.log(p / (p + n))


def decoupled(row, t=0.3, sigma=None, detach=False):
    """DCL, and DCLW with ``sigma``."""
    weight = 1.0
    if sigma is not None:
        positives = row.positives.detach() if detach else row.positives
        weight = 2 - len(positives) * (positives / sigma).softmax(0)[row.index]
    return -weight * row.positive / t + (row.negatives / t).exp().sum().log()


def macl(row):
    """MACL with t = 0.2, alpha = 0.5, A0 = 0.1."""
    t = 0.2 * (1 + 0.5 * (row.positives.detach().mean() - 0.1))
    loss = plain(row, t)
    return loss / (1 - (-loss.detach()).exp())


def uncertain(row):
    """TaU with t = 0.2."""
    return plain(row, 0.2 / torch.sigmoid(row.extra))


def temperature_free(row):
    """Logits 2 artanh(s)."""
    p = (1 + row.positive) / (1 - row.positive)
    n = ((1 + row.negatives) / (1 - row.negatives)).sum()
    return -torch.log(p / (p + n))


def labelled(form):
    """SupCon's two forms, the sum inside of the logarithm, and SINCERE, as a function of a row."""

    def loss(row, t=0.3):
        positives = torch.cat([row.positive[None], row.negatives[row.mates]]) / t
        everything = torch.cat([row.positive[None], row.negatives]) / t
        if form == 'out':
            return everything.exp().sum().log() - positives.mean()
        if form == 'in-mean':
            return everything.exp().sum().log() - positives.exp().mean().log()
        if form == 'in':
            return everything.exp().sum().log() - positives.exp().sum().log()
        n = (row.negatives[~row.mates] / t).exp().sum()
        return -(positives.exp() / (positives.exp() + n)).log().mean()

    return loss


def answers_alike(comparison):
    """Let candidates of the query's label answer too; returns the comparison."""
    rows = comparison.query.vectors.shape[1]
    mine = comparison.batch.labels.repeat_interleave(rows)[:, None]

    def across(candidates):
        return lambda columns: (mine == candidates.labels[columns]) & (mine >= 0)

    comparison.match.across = across
    return comparison


def of_lists(answers, negatives, t, form):
    """One query with lists of cosines with all answers and all negatives."""
    near = torch.stack([(s / t).exp() for s in answers])
    far = sum((s / t).exp() for s in negatives)
    if form == 'in':
        return -(near.sum() / (near.sum() + far)).log()
    if form == 'in-mean':
        return -(near.mean() / (near.sum() + far)).log()
    if form == 'apart':
        return -(near / (near + far)).log().mean()
    return -(near / (near.sum() + far)).log().mean()


def met(c, source, b, n, overlapping=False):
    """Vectors of all answers and of all negatives of unit n of image b; ``c.match`` has a mask."""
    images, units = c.key.vectors.shape[:2]
    there = torch.ones(images, units, dtype=torch.bool) if c.key.valid is None else c.key.valid
    answers = [c.key.vectors[b, m] for m in range(units) if c.match.answers(units)[b, n, m]]
    negatives = []
    for i in range(images):
        for m in range(units):
            mine = i == b
            asked = mine if source == 'image' else source in ('units', 'units+own', 'units+queries')
            if asked and there[i, m] and not (mine and c.match.answers(units)[b, n, m]):
                negatives.append(c.key.vectors[i, m])
        if source == 'units+own':
            for m in range(c.own.vectors.shape[1]):
                if not (i == b and c.query.ids[i, m] == c.query.ids[b, n]):
                    negatives.append(c.own.vectors[i, m])
        if source == 'units+queries':
            for m, vector in enumerate(c.query.compared[i].detach()):
                if not (i == b and c.query.ids[i, m] == c.query.ids[b, n]):
                    negatives.append(vector)
        if source == 'others':
            x1, y1, x2, y2 = c.key.place.boxes[b, int(c.match.index[b, n])].tolist()
            for p, (a1, b1, a2, b2) in enumerate(c.key.others_boxes.tolist()):
                shared = max(x1, a1) < min(x2, a2) and max(y1, b1) < min(y2, b2)
                if i != b or overlapping or not shared:
                    negatives.append(c.key.others[i, p])
    return answers, negatives


def of_units(c, source, t, form, mean, queue=(), overlapping=False):
    """The whole loss, written out, and how many queries count."""
    images, units = c.query.vectors.shape[:2]
    terms, weights = [[] for _ in range(images)], 0.0
    for b in range(images):
        for n in range(units):
            answers, negatives = met(c, source, b, n, overlapping)
            if not answers:
                continue
            cosines = [
                [torch.cosine_similarity(c.query.compared[b, n], x, dim=0) for x in vectors]
                for vectors in (answers, [*negatives, *queue])
            ]
            weight = 1 if c.match.weight is None else c.match.weight[b, n]
            terms[b].append(weight * of_lists(*cosines, t, form))
            weights += weight
    count = sum(len(x) for x in terms)
    if mean == 'images':
        return sum(sum(x) / max(len(x), 1) for x in terms) / images, count
    total = sum(sum(x) for x in terms)
    if mean == 'weights':
        return total / weights, count
    return total / (images * units if mean == 'rows' else max(count, 1)), count
