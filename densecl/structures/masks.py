"""Masks of views that are drawn together with those of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchMask:
    """The place of a mask that is drawn when its sample is collated.

    Attributes:
        law: has ``draw_batch(grid, views, rng)`` -> (views, h, w) bool array; it is compared by ``==``.
        grid: h and w, patches of the view.
        seed: from the sample's own generator; the masks of a batch depend on the seeds of all its samples.
    """

    law: Any
    grid: tuple[int, int]
    seed: int


def collate_masks(masks: Sequence[list[Tensor | BatchMask | None] | None]) -> list[Tensor | None] | None:
    """Stack the masks of B samples, and draw those that wait for the batch.

    Views of one law and grid are drawn together, all V' * B of them, as the global crops in DINOv2's code.

    Args:
        masks: B times V entries, or B times None.

    Returns:
        V entries, (B, h, w) bool or None; or None altogether.
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
    """The masks of V' views of B samples, (V', B, h, w)."""
    first = columns[0][0]
    rng = np.random.default_rng([mask.seed for column in columns for mask in column])
    drawn = first.law.draw_batch(first.grid, len(columns) * len(columns[0]), rng)
    return torch.from_numpy(drawn).unflatten(0, (len(columns), -1))
