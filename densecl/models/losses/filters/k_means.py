"""Spherical k-means, whose work the processes share."""

import torch
from torch import Tensor

from densecl.distributed import all_reduce, rank, world_size
from densecl.numerics import unit

from ..kernel import hardest_keys, similarity_logsumexp


def _own_share(count: int) -> slice:
    """Which of ``count`` rows this rank works on."""
    return slice(count * rank() // world_size(), count * (rank() + 1) // world_size())


@torch.no_grad()
def k_means(features: Tensor, count: int, iterations: int, seed: int) -> Tensor:
    """Spherical k-means (Dhillon and Modha, 2001); the ranks share the work and find the same.

    Of (M, C) unit vectors, the same on every rank, ``count`` <= M centroids, unit vectors; the seed is that
    of the images that are the first ones. A cluster that loses its last member stays where it is.
    """
    generator = torch.Generator().manual_seed(seed)
    first = torch.randperm(len(features), generator=generator)[:count]
    centroids = features[first.to(features.device)]
    share = features[_own_share(len(features))]
    for _ in range(iterations):
        nearest = hardest_keys(share, centroids, 1)[1][:, 0]
        sums = all_reduce(torch.zeros_like(centroids).index_add(0, nearest, share))
        centroids = torch.where(sums.any(1, keepdim=True), unit(sums), centroids)
    return centroids


@torch.no_grad()
def assign(features: Tensor, centroids: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(M,) nearest centroid of each feature, and (M,) its softmax probability among all centroids."""
    rows = _own_share(len(features))
    cosine, nearest = hardest_keys(features[rows], centroids, 1)
    lse, _ = similarity_logsumexp(features[rows] / temperature, centroids)
    labels, confidence = nearest.new_zeros(len(features)), lse.new_zeros(len(features))
    labels[rows], confidence[rows] = nearest[:, 0], (cosine[:, 0] / temperature - lse).exp()
    return all_reduce(labels), all_reduce(confidence)
