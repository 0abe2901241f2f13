"""Comparisons out of plain tensors, and one step of an objective, for tests."""

import torch

from densecl.structures import Batch, Comparison, Match, Units


def compare(query, positive, indices=None, keys=None, queries=None, support=None, labels=None):
    """Row i of N an image answers row i.

    Args:
        query: (B, C) or (B * N, C).
        positive: the same.
        indices: (B,) or None.
        keys: (B, C), pooled vectors of the key view; ``positive`` by default.
        queries: (B, C), those of the query view; ``query`` by default.
        support: (S, B, C) or None.
        labels: (B,) or None.
    """
    keys = positive if keys is None else keys
    queries = query if queries is None else queries
    images = len(keys)
    rows = len(query) // images
    segments = dict(  # two, which rows of an image have by turns
        labels=torch.eye(2)[torch.arange(rows) % 2].expand(images, -1, -1),
        label_ids=torch.arange(2).expand(images, -1),
    )
    sides = (query, queries), (positive, keys)
    units = [Units(x.view(images, rows, -1), pooled=pooled, **segments) for x, pooled in sides]
    batch = Batch.numbered(torch.arange(images) if indices is None else indices, labels)
    batch.indices = indices
    return Comparison(*units, Match(index=torch.arange(rows).expand(images, rows)), batch, support=support)


def step(objective, *comparisons):
    """The sum of the losses of all pairs of views; in training the objective then remembers their keys."""
    losses = [objective.score(c)[0] for c in comparisons]
    if objective.training:
        with torch.no_grad():
            objective.remember([c.key for c in comparisons], comparisons[0].batch)
    return sum(losses)


def part(objective, kind):
    """The part of an objective that is of this kind."""
    (found,) = (m for m in objective.modules() if isinstance(m, kind))
    return found


def set_clock(objective, clock):
    """Let all parts read this clock."""
    for module in objective.modules():
        if hasattr(module, 'clock'):
            module.clock = clock
    return clock
