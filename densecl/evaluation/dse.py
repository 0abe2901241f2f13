"""DSE, an estimate of dense quality without labels (Dense representation Structure Estimator,
arXiv 2510.17299, NeurIPS 2025)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from densecl.numerics import full_precision

from .clustering import kmeans
from .collapse import effective_rank, singular_values

# The paper's settings: images per group, clusters per group and per image. Its k-means draws the first
# centres by distance, not by squared distance.
_GROUP, _OF_GROUP, _OF_IMAGE = 8, 24, 3
_KMEANS = dict(iterations=20, tolerance=1e-4, power=1.0)


@dataclass(frozen=True)
class DSE:
    """The terms of DSE, each divided by the mean distance of cells to their mean.

    Attributes:
        inter: mean distance of cells to the nearest centre of another cluster, over groups of 8 images.
        intra_batch: mean spread of the clusters of the groups.
        intra_image: mean spread of the 3 clusters of each image.
        dim: mean effective rank of sets with one cell per image, as a share of its largest value.
    """

    inter: float
    intra_batch: float
    intra_image: float
    dim: float

    @property
    def value(self) -> float:
        """``inter + dim - (intra_batch + intra_image) / 2``; higher is better."""
        return self.inter + self.dim - (self.intra_batch + self.intra_image) / 2


@torch.no_grad()
def dse(maps: Tensor, seed: int = 0) -> DSE:
    """Measure DSE on the maps of unlabelled images.

    DSE depends on the resolution and the number of images, so compare only values for the same images. It
    does not rank different networks (docs/guard.md).

    Args:
        maps: (B, C, h, w), B >= 2, of any floating type.
        seed: seed of the clusters and of the order of the cells; the global random state is not touched.
    """
    return dense_structure(maps.flatten(2).transpose(1, 2), torch.Generator().manual_seed(seed))


@torch.no_grad()
def dense_structure(cells: Tensor, generator: torch.Generator | None = None) -> DSE:
    """DSE and its terms from the cells of images: official settings, in at least float32, on the CPU.

    Args:
        cells: (B, N, D), of any floating type, not normalised.
        generator: on the CPU, draws the clusters and the order of the cells; None: a new one with seed 0. The
            global random state is not touched.

    Raises:
        ValueError: the cells are not (B, N, D) with at least one of each.
    """
    if cells.ndim != 3 or not cells.numel():
        raise ValueError(f'cells must be (B, N, D), got {tuple(cells.shape)}')
    generator = generator or torch.Generator().manual_seed(0)
    cells = full_precision(cells.cpu())
    scale = (cells - cells.mean((0, 1))).norm(dim=2).mean().clamp(min=torch.finfo(cells.dtype).tiny)
    inter, batch, image = [], [], []
    for group in cells.split(_GROUP):
        rows = group.flatten(0, 1)
        centres, ids = kmeans(rows, _OF_GROUP, generator, **_KMEANS)
        inter.append(_to_other_centre(rows, centres, ids))
        batch += _spreads(rows, ids)
    for rows in cells:
        spreads = _spreads(rows, kmeans(rows, _OF_IMAGE, generator, **_KMEANS)[1])
        image.append(sum(spreads) / max(len(spreads), 1))
    terms = (torch.stack(inter).mean(), sum(batch) / max(len(batch), 1), sum(image) / len(image))
    return DSE(*(float(term / scale) for term in terms), dim=_dim(cells, generator))


def _to_other_centre(rows: Tensor, centres: Tensor, ids: Tensor) -> Tensor:
    """Mean distance of (n, d) rows to the nearest of (k, d) centres except their own."""
    distances = torch.cdist(rows, centres)
    return distances.scatter(1, ids[:, None], torch.inf).min(1).values.mean()


def _spreads(rows: Tensor, ids: Tensor) -> list[Tensor]:
    """For each cluster with more than one row: the sum of singular values of its centred rows, divided by the
    square root of max(degrees of freedom, d)."""
    clusters = (rows[ids == c] for c in ids.unique())
    return [
        singular_values(x - x.mean(0)).sum() / max(len(x) - 1, x.shape[1]) ** 0.5
        for x in clusters
        if len(x) > 1
    ]


def _dim(cells: Tensor, generator: torch.Generator) -> float:
    images, places, channels = cells.shape
    order = torch.stack([torch.randperm(places, generator=generator) for _ in range(images)])
    shuffled = cells.gather(1, order[..., None].expand_as(cells)).transpose(0, 1)  # (N, B, d)
    rank = torch.cat([effective_rank(singular_values(part), 1e-12) for part in shuffled.split(32)])
    return float(rank.mean() / min(images, channels))
