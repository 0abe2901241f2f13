"""The candidates that are in the batch of all processes."""

import torch
from torch import Tensor

from densecl.distributed import all_gather, gather
from densecl.numerics import unit
from densecl.structures import Comparison

from .candidates import Candidates, Pairs
from .kernel import worth_a_ring

SOURCES = ('keys', 'views', 'units', 'units+own', 'image', 'others')


def batch_candidates(
    c: Comparison,
    query: Tensor,
    keys: Tensor,
    source: str,
    gathered: bool = True,
    overlapping: bool = False,
    ring: bool | None = None,
) -> Candidates:
    """The candidates of the present batch, each column with the number of its image.

    Keys of other processes carry their gradient back to the process they came from. For ``source``,
    ``gathered`` and ``overlapping`` see :class:`.InfoNCE`.

    Args:
        query: (R, C) unit vectors.
        keys: (B, M, C) unit vectors of the key side's units.
        ring: send keys around instead of gathering them; by default where they would be large.
    """
    if source == 'image':  # the other units of the query's own image
        others = ~c.match.answers(keys.shape[1])
        others = others if c.key.valid is None else others & c.key.valid[:, None]
        return Candidates(query[:0], pairs=Pairs.between(query, keys, others))
    parts = _parts(c, keys, source)
    local, columns = torch.cat([x.flatten(0, 1) for x, _ in parts]), _columns(c, parts)
    ring = (worth_a_ring(local) if ring is None else ring) and gathered
    if gathered:
        local, columns = local if ring else gather(local), all_gather(columns)
    images, indices, labels, place, there = columns.unbind(1)
    found = Candidates(
        local,
        images,
        c.batch.numbers.repeat_interleave(len(query) // len(c.batch.numbers)),
        indices=None if c.batch.indices is None else indices,
        labels=None if c.batch.labels is None else labels,
        there=None if all(valid is None for _, valid in parts) else there,
        ring=ring,
    )
    if source == 'others' and overlapping:
        found.images = found.own = None
    elif source == 'others':
        found.pairs = _apart(c, query, parts[0][0])
    elif source in ('units', 'units+own'):
        found.place, found.left_out = place, _left_out(c, keys.shape[1], source)
    return found


def query_pooled(c: Comparison) -> Tensor:
    """(B, C), one vector an image of the query's side: the prediction where there is one."""
    return c.query.pooled if c.query.pooled_predicted is None else c.query.pooled_predicted


def _parts(c: Comparison, keys: Tensor, source: str) -> list[tuple[Tensor, Tensor | None]]:
    """Unit vectors (B, m, C), and (B, m) bool, which of them are there (None: all); one pair a set."""
    if source in ('keys', 'views'):
        pooled = [c.key.pooled, query_pooled(c)] if source == 'views' else [c.key.pooled]
        return [(unit(x)[:, None], None) for x in pooled]
    if source == 'others':
        return [(unit(c.key.others), None)]
    own = [(unit(c.own.vectors), c.own.valid)] if source == 'units+own' else []
    return [(keys, c.key.valid), *own]


def _columns(c: Comparison, parts: list[tuple[Tensor, Tensor | None]]) -> Tensor:
    """(K, 5) int64: number of the image, its position in the data set, its label, -1 where not known; place
    in the image; and whether the unit is there.
    """
    unknown = torch.full_like(c.batch.numbers, -1)
    images = [unknown if x is None else x for x in (c.batch.numbers, c.batch.indices, c.batch.labels)]
    columns, first = [], 0
    for x, valid in parts:
        shape = x.shape[:2]
        place = torch.arange(first, first + shape[1], device=x.device)
        there = torch.ones_like(place) if valid is None else valid.long()
        rows = [*(values[:, None] for values in images), place, there]
        columns.append(torch.stack([values.expand(shape) for values in rows], -1).flatten(0, 1))
        first += shape[1]
    return torch.cat(columns)


def _left_out(c: Comparison, count: int, source: str) -> Tensor:
    """Units of its own image that a query does not meet: its answers, and in its own view itself."""
    if source == 'units':
        return c.match.index.flatten() if c.match.mask is None else c.match.answers(count).flatten(0, 1)
    itself = c.query.ids[:, :, None] == c.own.ids[:, None]
    return torch.cat([c.match.answers(count), itself], 2).flatten(0, 1)


def _apart(c: Comparison, query: Tensor, others: Tensor) -> Pairs:
    """Places of the query's own image that share no area with its answer; to touch is to share none."""
    x1, y1, x2, y2 = c.match.sum_of(c.key.place.boxes)[:, :, None].unbind(-1)
    a1, b1, a2, b2 = c.key.others_boxes.unbind(-1)
    shared = (x1 < a2) & (a1 < x2) & (y1 < b2) & (b1 < y2)
    return Pairs.between(query, others, ~shared)
