"""K-means with its own random state."""

import torch
from torch import Tensor

# Number of distances in memory at once: 64 MiB in float32.
_TILE = 1 << 24


@torch.no_grad()
def kmeans(
    rows: Tensor,
    k: int,
    generator: torch.Generator,
    iterations: int = 20,
    tolerance: float = 1e-4,
    power: float = 2.0,
) -> tuple[Tensor, Tensor]:
    """Lloyd's iterations from k-means++ centres; an empty cluster keeps its centre.

    Args:
        rows: (N, d) float.
        k: number of clusters; N if there are fewer rows.
        generator: on the CPU, draws the first centres.
        iterations: largest number of iterations.
        tolerance: stop if no centre moves further than this.
        power: the next first centre is drawn with a probability proportional to this power of the distance to
            the nearest centre: 2 is k-means++ (Arthur and Vassilvitskii, 2007).

    Returns:
        (k, d) centres and (N,) int64, the nearest centre of each row.
    """
    centres = _first_centres(rows, min(k, len(rows)), generator, power)
    for _ in range(iterations):
        ids = _nearest_centre(rows, centres)
        sizes = torch.bincount(ids, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, ids, rows)
        moved = torch.where(sizes[:, None] > 0, sums / sizes[:, None].clamp(min=1), centres)
        shift = (moved - centres).norm(dim=1).max()
        centres = moved
        if shift < tolerance:
            break
    return centres, _nearest_centre(rows, centres)


def _nearest_centre(rows: Tensor, centres: Tensor) -> Tensor:
    tiles = rows.split(max(1, _TILE // len(centres)))
    return torch.cat([torch.cdist(tile, centres).argmin(1) for tile in tiles])


def _first_centres(rows: Tensor, k: int, generator: torch.Generator, power: float) -> Tensor:
    chosen = [int(torch.randint(len(rows), (1,), generator=generator))]
    distance = rows.new_full((len(rows),), torch.inf)
    for _ in range(k - 1):
        distance = torch.minimum(distance, (rows - rows[chosen[-1]]).norm(dim=1))
        weights = distance**power
        if not weights.any():  # every row is a centre already
            weights = torch.ones_like(weights)
        chosen.append(int(torch.multinomial(weights.cpu(), 1, generator=generator)))
    return rows[chosen]
