"""Masks of views, some of which are drawn for a whole batch at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchMask:
    """A placeholder for a mask that is drawn later, when the samples are collated to a batch.

    Attributes:
        law: draws the masks: ``draw_batch(grid, views, rng)`` -> (views, h, w) bool array. Two laws are the
            same if ``==`` says so.
        grid: h and w, the number of patches in a column and in a row of the view.
        seed: from the sample's own generator. The masks of a batch depend on the seeds of all its samples.
    """

    law: Any
    grid: tuple[int, int]
    seed: int


def collate_masks(masks: Sequence[list[Tensor | BatchMask | None] | None]) -> list[Tensor | None] | None:
    """Stack the masks of B samples, and draw those that are still placeholders (:class:`BatchMask`).

    The V' views with the same law and grid are drawn in one call, V' * B masks, as DINOv2's code does for
    its global crops.

    Args:
        masks: for each of B samples a list of V masks, one a view; or None for each sample.

    Returns:
        A list of V entries, (B, h, w) bool or None each; or one None if the samples have no masks.
    """
    if masks[0] is None:
        return None
    columns = list(zip(*masks, strict=True))
    found: list[Tensor | None] = [None] * len(columns)
    waiting: list[int] = []
    for v, column in enumerate(columns):
        if isinstance(column[0], BatchMask):
            waiting.append(v)
        elif column[0] is not None:
            found[v] = torch.stack(column)
    while waiting:
        first = columns[waiting[0]][0]
        alike = [v for v in waiting if (columns[v][0].law, columns[v][0].grid) == (first.law, first.grid)]
        waiting = [v for v in waiting if v not in alike]
        for v, drawn in zip(alike, _draw([columns[v] for v in alike]), strict=True):
            found[v] = drawn
    return found


def _draw(columns: list[tuple[BatchMask, ...]]) -> Tensor:
    """Draw the masks of V' views of B samples, (V', B, h, w) bool."""
    first = columns[0][0]
    rng = np.random.default_rng([mask.seed for column in columns for mask in column])
    drawn = first.law.draw_batch(first.grid, len(columns) * len(columns[0]), rng)
    return torch.from_numpy(drawn).unflatten(0, (len(columns), -1))
