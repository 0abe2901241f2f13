"""Measures how far features have moved from their start."""

import torch
from torch import Tensor

from densecl.numerics import full_precision

from .clustering import kmeans
from .knn import knn_predict


@torch.no_grad()
def linear_cka(first: Tensor, second: Tensor) -> float:
    """Linear centred kernel alignment of the cells of two networks (Kornblith et al., 2019, section 3).

    It is 1 if one is a rotation and scaling of the other, and near 0 if they have nothing in common.

    Args:
        first: (B, C, h, w), of any floating type.
        second: (B, C', h, w), the same images and cells.

    Raises:
        ValueError: the maps have different cells.
    """
    if first.shape[0] != second.shape[0] or first.shape[2:] != second.shape[2:]:
        raise ValueError(f'maps of the same cells are needed, got {first.shape} and {second.shape}')
    x, y = (_rows(maps).double() for maps in (first, second))
    x, y = x - x.mean(0), y - y.mean(0)
    norms = (x.T @ x).norm() * (y.T @ y).norm()
    return float((x.T @ y).square().sum() / norms.clamp(min=torch.finfo(norms.dtype).tiny))


@torch.no_grad()
def cluster_labels(maps: Tensor, k: int = 50, seed: int = 0) -> Tensor:
    """K-means ids of the normalised cells: (B, C, h, w) -> (B, h, w) int64.

    The seed is used only for k-means; the global random state is not touched.
    """
    rows = torch.nn.functional.normalize(_rows(maps), dim=1)
    ids = kmeans(rows, k, torch.Generator().manual_seed(seed))[1]
    return ids.view(maps.shape[0], *maps.shape[2:])


def label_retrieval(maps: Tensor, labels: Tensor, k: int = 20) -> float:
    """Share of the cells whose label is predicted correctly by their nearest cells in other images.

    Every second image votes for the others. With the start's :func:`cluster_labels`, the share falls if a
    network no longer separates what the start separated.

    Args:
        maps: (B, C, h, w), B >= 2, of any floating type.
        labels: (B, h, w) int64.
        k: number of cells that vote.
    """
    bank, queries = (_rows(maps[i::2]) for i in (0, 1))
    classes, truth = (labels[i::2].flatten() for i in (0, 1))
    k = min(k, len(bank))
    return (knn_predict(queries, bank, classes, (k,))[k] == truth).double().mean().item()


def _rows(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (B h w, C), at least float32, on the CPU."""
    return full_precision(maps.cpu()).transpose(0, 1).flatten(1).T
