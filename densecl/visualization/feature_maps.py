"""What features see: principal components, similarity, segments and nearest neighbours of cells.

The maps of some photos are a list of (C, h, w) float tensors, one level of one network; their grids may
differ, and so may C between networks. Points are x and y in shares of a photo, 0 to 1.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.evaluation.clustering import kmeans
from densecl.evaluation.components import principal_components


def centred(maps: Sequence[Tensor]) -> list[Tensor]:
    """Maps minus the mean cell of all photos, each cell then of length 1.

    After a ReLU all cells point into one corner of the space, and every cosine is near 1; minus the mean they
    differ. A cell that equals the mean is 0. In the precision of the input.
    """
    total = sum(m.float().sum((1, 2)) for m in maps)
    mean = (total / sum(m[0].numel() for m in maps))[:, None, None]
    return [F.normalize(m.float() - mean, dim=0, eps=1e-6).to(m.dtype) for m in maps]


def component_maps(maps: Sequence[Tensor], count: int = 3) -> list[Tensor]:
    """The first principal components of the cells of all photos: one basis for all.

    Returns:
        (count, h, w) each, the largest variance first, of mean 0 and variance 1 over all cells. The largest
        entry of each direction is positive. Components beyond the rank of the cells are 0.
    """
    scores = principal_components(_rows(maps), count)
    variance = scores.square().mean(0)
    kept = variance > 1e-6 * variance[0].clamp(min=1e-12)
    scores = scores * torch.where(kept, variance.clamp(min=1e-12).rsqrt(), 0)
    return _maps(F.pad(scores, (0, count - scores.shape[1])), maps)


def aligned(scores: Sequence[Tensor], reference: Sequence[Tensor]) -> list[Tensor]:
    """Principal components of one network, turned to those of another as far as a rotation can.

    The space of the components stays, only its axes change (orthogonal Procrustes), so that what both
    networks see has one colour. Another grid of the reference is interpolated.

    Args:
        scores: (K, h, w) each, of :func:`component_maps`.
        reference: the same of the other network, on the same photos.
    """
    pairs = zip(scores, reference, strict=True)
    sized = [F.interpolate(r[None], s.shape[1:], mode='bilinear')[0] for s, r in pairs]
    left, _, right = torch.linalg.svd(_rows(scores).T @ _rows(sized))
    return _maps(_rows(scores) @ left @ right, scores)


def component_colors(scores: Sequence[Tensor], tails: float = 0.02) -> list[np.ndarray]:
    """Three components as red, green and blue.

    Args:
        scores: (3, h, w) each.
        tails: share of all cells that is dark, and share that is full, in each colour; one scale for all.

    Returns:
        uint8 (h, w, 3) each. A component without variance is grey.
    """
    low, high = torch.quantile(_rows(scores), torch.tensor([tails, 1 - tails]), dim=0)[:, :, None, None]
    flat = high - low < 1e-6
    shares = [torch.where(flat, 0.5, (s - low) / torch.where(flat, 1, high - low)) for s in scores]
    return [(s.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy() for s in shares]


def cell_at(point: Sequence[float], grid: Sequence[int]) -> tuple[int, int]:
    """Row and column of the cell that a point lies in.

    Raises:
        ValueError: the point is not in the photo.
    """
    x, y = point
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise ValueError(f'point {x:g},{y:g}: x and y are shares of the photo, from 0,0 (top left) to 1,1')
    return min(int(y * grid[0]), grid[0] - 1), min(int(x * grid[1]), grid[1] - 1)


def similarity(features: Tensor, point: Sequence[float]) -> Tensor:
    """Cosine of every cell of a photo (C, h, w) with the cell at ``point``: (h, w), 1 at the point itself."""
    unit = F.normalize(features.float(), dim=0, eps=1e-6)
    row, column = cell_at(point, unit.shape[1:])
    return torch.einsum('chw,c->hw', unit, unit[:, row, column])


def segments(maps: Sequence[Tensor], count: int, generator: torch.Generator) -> list[Tensor]:
    """K-means of the cells of all photos: int64 (h, w) each, the largest cluster is 0, and so on.

    Args:
        maps: of the photos.
        count: clusters; fewer where there are fewer cells.
        generator: draws the first centres.
    """
    _, ids = kmeans(_rows(maps), count, generator)
    order = torch.bincount(ids, minlength=count).argsort(descending=True)
    return [m[0] for m in _maps(order.argsort()[ids][:, None], maps)]


def renamed(found: Sequence[Tensor], reference: Sequence[Tensor]) -> list[Tensor]:
    """Segments of one network under the numbers of those of another that they share most cells with.

    Pairs are made greedily, the largest overlap first; numbers are used once.

    Args:
        found: int64 (h, w) each.
        reference: the same, of the same photos; another grid is read at the nearest cells.
    """
    count = 1 + int(max(m.max() for m in (*found, *reference)))
    overlap = torch.zeros(count * count)
    for mine, other in zip(found, reference, strict=True):
        other = F.interpolate(other[None, None].float(), mine.shape, mode='nearest')[0, 0].long()
        overlap += torch.bincount((mine * count + other).flatten(), minlength=count * count)
    overlap, names = overlap.view(count, count), torch.zeros(count, dtype=torch.int64)
    for _ in range(count):
        mine, other = divmod(int(overlap.argmax()), count)
        names[mine] = other
        overlap[mine], overlap[:, other] = -1, -1
    return [names[m] for m in found]


def mean_cells(maps: Sequence[Tensor]) -> Tensor:
    """The mean cell of each photo: (N, C) float32."""
    return torch.stack([m.float().mean((1, 2)) for m in maps])


def nearest_images(maps: Sequence[Tensor], photo: int, count: int) -> list[int]:
    """The photos whose mean cells have the highest cosine with that of ``photo``, the best first."""
    pooled = F.normalize(mean_cells(maps), dim=1, eps=1e-6)
    order = (pooled @ pooled[photo]).argsort(descending=True).tolist()
    return [i for i in order if i != photo][:count]


def nearest_cells(
    maps: Sequence[Tensor], photo: int, point: Sequence[float], count: int
) -> list[tuple[int, tuple[float, float], float]]:
    """The cells of other photos that are most similar to the one at a point, one a photo, the best first.

    Returns:
        Photo, point (the cell's centre) and cosine of each.
    """
    row, column = cell_at(point, maps[photo].shape[1:])
    query, found = F.normalize(maps[photo][:, row, column].float(), dim=0, eps=1e-6), []
    for i, other in enumerate(maps):
        if i != photo:
            cosines = torch.einsum('chw,c->hw', F.normalize(other.float(), dim=0, eps=1e-6), query)
            y, x = divmod(int(cosines.argmax()), cosines.shape[1])
            centre = (x + 0.5) / cosines.shape[1], (y + 0.5) / cosines.shape[0]
            found.append((i, centre, float(cosines.max())))
    return sorted(found, key=lambda each: -each[2])[:count]


def _rows(maps: Sequence[Tensor]) -> Tensor:
    """(C, h, w) each -> (all cells, C) float32."""
    return torch.cat([m.flatten(1).T.float() for m in maps])


def _maps(rows: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """(all cells, K) -> (K, h, w) each, on the grids of ``like``."""
    parts = rows.split([m[0].numel() for m in like])
    return [part.T.unflatten(1, m.shape[1:]) for part, m in zip(parts, like, strict=True)]
