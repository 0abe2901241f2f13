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
    """Clusters of cells that are alike and near each other (CrIBo, Lebailly et al., ICLR 2024, and code).

    In each round a cell's cost for a cluster is minus their cosine, plus the weighted distance to the nearest
    other cell of the cluster, as a share of the largest such distance of the image. Costs are brought to
    [0, 1] over the batch of all processes; a few steps of Sinkhorn's algorithm share the cells out, and each
    goes to its largest share. Clusters may be as large as they were in the round before.

    Args:
        cells: (B, N, C), of both views, one after the other.
        places: (B, N, 2), their centres in the original image.
        first: (B, K) int64, the cells that the clusters start from.
        position_weight: of the distance; 1 on ImageNet, 2 on COCO.
        sharpness: of Sinkhorn's shares, lambda.
        rounds: of assigning and taking means.
        iterations: of Sinkhorn's algorithm in each.

    Returns:
        (B, N) int64, the cluster of each cell; some clusters may have none.
    """
    (images, count), clusters = cells.shape[:2], first.shape[1]
    cells, places = unit(cells), full_precision(places).to(full_precision(cells).dtype)
    distances = (places[:, :, None] - places[:, None]).square().sum(-1).sqrt()
    # Cells that belong to no cluster yet go to one more, which is left out.
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
    """(B, N, K): distance of each cell to the nearest other one of each cluster, in shares of the largest.

    Cells at the same place do not count. Where there is none, the mean over cells and clusters, in which such
    distances are 0.
    """
    away = distances.masked_fill(distances == 0, torch.inf)
    nearest = away.new_full((*away.shape[:2], clusters + 1), torch.inf)
    nearest = nearest.scatter_reduce(2, labels[:, None].expand_as(away), away, 'amin')[..., :clusters]
    none = nearest.isinf()
    nearest = nearest.masked_fill(none, 0.0)
    nearest = torch.where(none, nearest.mean((1, 2), keepdim=True), nearest)
    return nearest / nearest.amax((1, 2), keepdim=True).clamp(min=torch.finfo(nearest.dtype).tiny)


def _scaled(cost: Tensor) -> Tensor:
    """Costs in [0, 1] over the batch of all processes."""
    ends = all_gather(torch.stack([cost.amin(), -cost.amax()])[None]).amin(0)
    low, high = ends[0], -ends[1]
    return (cost - low) / (high - low).clamp(min=torch.finfo(cost.dtype).tiny)


def _shares(log_shares: Tensor, log_sizes: Tensor, iterations: int) -> Tensor:
    """Sinkhorn's steps in the log domain: cells weigh alike; clusters, last, as ``log_sizes`` says."""
    for _ in range(iterations):
        log_shares = log_shares.log_softmax(2)
        log_shares = log_shares - log_shares.logsumexp(1, keepdim=True) + log_sizes
    return log_shares
