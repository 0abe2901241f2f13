"""K-means with a random state of its own."""

import torch
from torch import Tensor


@torch.no_grad()
def kmeans(
    rows: Tensor,
    k: int,
    generator: torch.Generator,
    iterations: int = 20,
    tolerance: float = 1e-4,
    power: float = 2.0,
) -> tuple[Tensor, Tensor]:
    """Lloyd's iterations from k-means++ centres; a cluster that runs empty keeps its centre.

    Args:
        rows: (N, d) float, on the CPU.
        k: clusters; N where there are fewer rows.
        generator: draws the first centres.
        iterations: at most so many.
        tolerance: stop where no centre moves further.
        power: of the distance to the nearest centre that the next one is drawn by: 2 is k-means++
            (Arthur and Vassilvitskii, 2007).

    Returns:
        (k, d) centres and (N,) int64, the nearest centre of each row.
    """
    centres = _first_centres(rows, min(k, len(rows)), generator, power)
    for _ in range(iterations):
        ids = torch.cdist(rows, centres).argmin(1)
        sizes = torch.bincount(ids, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, ids, rows)
        moved = torch.where(sizes[:, None] > 0, sums / sizes[:, None].clamp(min=1), centres)
        shift = (moved - centres).norm(dim=1).max()
        centres = moved
        if shift < tolerance:
            break
    return centres, torch.cdist(rows, centres).argmin(1)


def _first_centres(rows: Tensor, k: int, generator: torch.Generator, power: float) -> Tensor:
    chosen = [int(torch.randint(len(rows), (1,), generator=generator))]
    distance = torch.full((len(rows),), torch.inf, dtype=rows.dtype)
    for _ in range(k - 1):
        distance = torch.minimum(distance, (rows - rows[chosen[-1]]).norm(dim=1))
        weights = distance**power
        if not weights.any():  # every row is a centre already
            weights = torch.ones_like(weights)
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
    return rows[chosen]
