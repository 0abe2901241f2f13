"""Candidates of a contrastive loss from the present batch of all processes."""

from dataclasses import replace

import torch
from torch import Tensor

from densecl.distributed import all_gather, gather
from densecl.numerics import unit
from densecl.structures import Comparison, Units

from .candidates import Candidates, Pairs
from .kernel import worth_a_ring

SOURCES = ('keys', 'views', 'units', 'units+own', 'units+queries', 'image', 'others')


def batch_candidates(
    c: Comparison,
    query: Tensor,
    keys: Tensor,
    source: str,
    gathered: bool = True,
    overlapping: bool = False,
    ring: bool | None = None,
    own_weight: float = 0.0,
) -> Candidates:
    """The candidates of the present batch, with the number of each candidate's image.

    The gradient of keys from other processes goes back to these processes. For ``source``, ``gathered``,
    ``overlapping`` and ``own_weight`` see :class:`.InfoNCE`.

    Args:
        query: (R, C) unit vectors.
        keys: (B, M, C) unit vectors of the key side's units.
        ring: send keys around a ring of processes instead of gathering them. None: only if they are large.
    """
    if source == 'image':
        return Candidates(query[:0], pairs=_others_of_own(c, query, keys))
    parts = _parts(c, keys, source)
    local, counts = torch.cat([x.flatten(0, 1) for x, _ in parts]), [x.shape[1] for x, _ in parts]
    ring = (worth_a_ring(local) if ring is None else ring) and gathered
    batch = c.batch.of_all() if gathered else c.batch
    images, indices, labels = (
        _columns(x, len(c.batch.numbers), counts) for x in (batch.numbers, batch.indices, batch.labels)
    )
    there = _there(parts)
    found = Candidates(
        local if ring or not gathered else gather(local),
        images,
        c.batch.numbers.repeat_interleave(len(query) // len(c.batch.numbers)),
        indices=indices,
        labels=labels,
        there=all_gather(there) if gathered and there is not None else there,
        ring=ring,
    )
    if source == 'others' and overlapping:
        found.images = found.own = None
    elif source == 'others':
        found.pairs = _apart(c, query, parts[0][0])
    elif source == 'units' and own_weight:
        found.pairs = replace(_others_of_own(c, query, keys), bonus=own_weight)
    elif source in ('units', 'units+own', 'units+queries'):
        places = torch.arange(sum(counts), device=keys.device).split(counts)
        local = torch.cat([place.repeat(len(keys)) for place in places])
        found.place = local.repeat(len(images) // len(local))
        found.left_out = _left_out(c, keys.shape[1], source)
    return found


def _parts(c: Comparison, keys: Tensor, source: str) -> list[tuple[Tensor, Tensor | None]]:
    """For each set of candidates: unit vectors (B, m, C), and which are valid, (B, m) bool (None: all)."""
    if source in ('keys', 'views'):
        sides = [(c.key.pooled, c.key)] + ([(c.query.pooled_compared, c.query)] if source == 'views' else [])
        return [(unit(x)[:, None], _has_units(units)) for x, units in sides]
    if source == 'others':
        return [(unit(c.key.others), None)]
    own = _own(c, source)
    return [(keys, c.key.valid)] + ([] if own is None else [(unit(own.vectors), own.valid)])


def _has_units(units: Units) -> Tensor | None:
    """The images that have a unit, (B, 1) bool; None: all. The pooled vector of the others is 0."""
    return None if units.valid is None else units.valid.any(1, keepdim=True)


def _own(c: Comparison, source: str) -> Units | None:
    """The units of the query's view, if they are candidates, too."""
    if source == 'units+queries':
        return Units(c.query.compared.detach(), valid=c.query.valid, ids=c.query.ids)
    return c.own if source == 'units+own' else None


def _columns(values: Tensor | None, images: int, counts: list[int]) -> Tensor | None:
    """Repeat a value of each image for each of its keys, in the order of the keys.

    The order is: process by process, and in a process set by set.

    Args:
        values: (P * B,), for the B = ``images`` images of each of P processes (or of one).
        counts: number of units of an image in each set.
    """
    if values is None:
        return None
    values = values.view(-1, images, 1)
    return torch.cat([values.expand(-1, -1, count).flatten(1) for count in counts], 1).flatten()


def _there(parts: list[tuple[Tensor, Tensor | None]]) -> Tensor | None:
    """(K,) uint8, 1 for the valid units of this process; None: all are valid."""
    if all(valid is None for _, valid in parts):
        return None
    each = [torch.ones(x.shape[:2], device=x.device) if valid is None else valid for x, valid in parts]
    return torch.cat([valid.flatten().to(torch.uint8) for valid in each])


def _others_of_own(c: Comparison, query: Tensor, keys: Tensor) -> Pairs:
    """The valid units of the query's own image that are not its answers."""
    others = ~c.match.answers(keys.shape[1])
    others = others if c.key.valid is None else others & c.key.valid[:, None]
    return Pairs.between(query, keys, others)


def _left_out(c: Comparison, count: int, source: str) -> Tensor:
    """Units of its own image that are no candidates of a query: its answers, and itself in its own view."""
    own = _own(c, source)
    if own is None:
        return c.match.index.flatten() if c.match.mask is None else c.match.answers(count).flatten(0, 1)
    itself = c.query.ids[:, :, None] == own.ids[:, None]
    return torch.cat([c.match.answers(count), itself], 2).flatten(0, 1)


def _apart(c: Comparison, query: Tensor, others: Tensor) -> Pairs:
    """Places of the query's own image that have no area in common with its answer; they may touch it."""
    x1, y1, x2, y2 = c.match.sum_of(c.key.place.boxes)[:, :, None].unbind(-1)
    a1, b1, a2, b2 = c.key.others_boxes.unbind(-1)
    shared = (x1 < a2) & (a1 < x2) & (y1 < b2) & (b1 < y2)
    return Pairs.between(query, others, ~shared)
