"""Objects that two views of an image share, found by clustering their cells together (CrOC, CrIBo)."""

import torch
from torch import Tensor

from densecl.distributed import all_gather
from densecl.numerics import full_precision, no_autocast, unit


@torch.no_grad()
@no_autocast
def joint_clusters(
    cells: Tensor,
    places: Tensor,
    first: Tensor,
    position_weight: float = 1.0,
    sharpness: float = 20.0,
    rounds: int = 5,
    iterations: int = 5,
) -> Tensor:
    """Clusters of cells that are similar and near each other (CrIBo, Lebailly et al., ICLR 2024, and code).

    In each round, a cell's cost for a cluster has two parts: the negative cosine with the cluster's mean, and
    the weighted distance to the nearest other cell of the cluster. This distance is divided by the largest
    one in the image. Costs are scaled to [0, 1] over the batch of all processes. A few steps of Sinkhorn's
    algorithm turn them into shares, and each cell goes to the cluster with its largest share. The sizes of
    clusters in Sinkhorn's algorithm are those of the round before.

    Args:
        cells: (B, N, C), the cells of both views, one view after the other.
        places: (B, N, 2), their centres in the original image.
        first: (B, K) int64, the cells from which the clusters start.
        position_weight: weight of the distance; 1 on ImageNet, 2 on COCO.
        sharpness: lambda of Sinkhorn's algorithm; larger values give harder shares.
        rounds: number of rounds; each assigns cells and takes means.
        iterations: of Sinkhorn's algorithm in each round.

    Returns:
        (B, N) int64, the cluster of each cell; a cluster may be empty.
    """
    (images, count), clusters = cells.shape[:2], first.shape[1]
    cells, places = unit(cells), full_precision(places).to(full_precision(cells).dtype)
    distances = (places[:, :, None] - places[:, None]).square().sum(-1).sqrt()
    # Cells without a cluster yet get an additional cluster, which is dropped.
    labels = first.new_full((images, count), clusters)
    labels = labels.scatter(1, first, torch.arange(clusters, device=first.device).expand_as(first))
    means = cells.gather(1, first[..., None].expand(-1, -1, cells.shape[2]))
    log_sizes = cells.new_zeros(images, 1, clusters)
    for _ in range(rounds):
        cost = position_weight * _nearest(distances, labels, clusters) - cells @ means.mT
        shares = _shares(-sharpness * _scaled(cost), log_sizes, iterations)
        labels = shares.argmax(2)
        members = torch.nn.functional.one_hot(labels, clusters).to(cells.dtype)
        log_sizes = (members.sum(1, keepdim=True) + 1e-2).log()
        means = unit(members.mT @ cells)
    return labels


def _nearest(distances: Tensor, labels: Tensor, clusters: int) -> Tensor:
    """Distance of each cell to the nearest other cell of each cluster, divided by the largest one, (B, N, K).

    Cells at the same place do not count. If a cluster has no other cell, the distance is the mean over cells
    and clusters; in this mean such distances are 0.
    """
    away = distances.masked_fill(distances == 0, torch.inf)
    nearest = away.new_full((*away.shape[:2], clusters + 1), torch.inf)
    nearest = nearest.scatter_reduce(2, labels[:, None].expand_as(away), away, 'amin')[..., :clusters]
    none = nearest.isinf()
    nearest = nearest.masked_fill(none, 0.0)
    nearest = torch.where(none, nearest.mean((1, 2), keepdim=True), nearest)
    return nearest / nearest.amax((1, 2), keepdim=True).clamp(min=torch.finfo(nearest.dtype).tiny)


def _scaled(cost: Tensor) -> Tensor:
    """Scale costs to [0, 1] over the batch of all processes."""
    ends = all_gather(torch.stack([cost.amin(), -cost.amax()])[None]).amin(0)
    low, high = ends[0], -ends[1]
    return (cost - low) / (high - low).clamp(min=torch.finfo(cost.dtype).tiny)


def _shares(log_shares: Tensor, log_sizes: Tensor, iterations: int) -> Tensor:
    """Sinkhorn's algorithm in the log domain. All cells have equal mass; clusters, normalised last, have the
    masses ``log_sizes``."""
    for _ in range(iterations):
        log_shares = log_shares.log_softmax(2)
        log_shares = log_shares - log_shares.logsumexp(1, keepdim=True) + log_sizes
    return log_shares
