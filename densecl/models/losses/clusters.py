"""False negatives by clustering what the momentum encoder thought of every image."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from densecl.distributed import all_gather, all_reduce, rank, world_size
from densecl.registry import MODELS
from densecl.schedule import Clock, Schedule

from .false_negatives import FalseNegatives
from .functional import unit
from .per_image import check_images, image_indices
from .tiled import hardest_keys, similarity_logsumexp


@MODELS.register_module()
class Clusters(FalseNegatives):
    """Candidates of the query's cluster, incrementally (IFND, Chen et al., 2022).

    The last key of every image is kept. At intervals all keys seen so far are clustered by k-means on
    cosines, once for each of ``clusters``; an image's confidence is the softmax, over the centroids, of
    cosine / ``temperature`` at its own. The most confident share of the images, which grows over the run, is
    labelled. A candidate is a false negative where both it and the query's image are labelled alike in at
    least one of the clusterings; the present views of the query's own image never are.

    The paper's interval, numbers of clusters, temperature of the confidence and way to join clusterings
    could not be verified: there is no official code to compare with.

    Args:
        images: number of images of the data set; ``DataSizeHook`` fills in None.
        dim: width C of the keys.
        clusters: numbers of clusters k.
        every: interval between clusterings.
        unit: of ``every``: ``'epoch'``, ``'step'`` or ``'run'`` (a share of the run).
        acceptance: share of the images that is labelled, a number or a schedule's config.
        temperature: of the confidence.
        iterations: of k-means.
        treatment: see :class:`FalseNegatives`; the paper prefers elimination without labels.
        weighting: see :class:`FalseNegatives`.
    """

    def __init__(
        self,
        images: int | None,
        dim: int,
        clusters: Sequence[int],
        every: float = 1,
        unit: str = 'epoch',
        acceptance: float | dict | None = None,
        temperature: float = 0.1,
        iterations: int = 20,
        treatment: str = 'elimination',
        weighting: dict | None = None,
    ) -> None:
        super().__init__(treatment, weighting)
        self.clusters = tuple(clusters)
        if not self.clusters or min(self.clusters) < 1 or max(self.clusters) > (images or math.inf):
            raise ValueError(
                f'Clusters: clusters must be numbers between 1 and images={images}, got {clusters}'
            )
        if every <= 0 or temperature <= 0 or iterations < 1:
            raise ValueError(
                'Clusters: every and temperature must be above 0 and iterations at least 1, got '
                f'{every}, {temperature} and {iterations}'
            )
        self.images, self.every, self.unit = images, every, unit
        growing = dict(start=0.0, end=1.0, shape='linear') if acceptance is None else acceptance
        self.acceptance = Schedule.of(growing, 'Clusters.acceptance')
        self.temperature, self.iterations = temperature, iterations
        self._make(dim, images or 0)
        self.register_buffer('clustered', torch.zeros((), dtype=torch.int64))  # at which step
        self.clock: Clock | None = None

    def _make(self, dim: int, images: int, **where) -> None:
        self.register_buffer('features', torch.zeros(images, dim, **where))
        self.register_buffer('seen', torch.zeros(images, dtype=torch.bool, **where))
        self.register_buffer('labels', torch.full((len(self.clusters), images), -1, **where))

    def set_images(self, images: int) -> None:
        """Make the state for so many images, where it was made for none; ``DataSizeHook`` calls it.

        Raises:
            ValueError: it was made for fewer.
        """
        if check_images(self.images, images, 'Clusters'):
            self.images = images
            self._make(self.features.shape[1], images, device=self.features.device)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        saved = state_dict.get(f'{prefix}seen')
        if saved is not None and self.images is None:  # the checkpoint knows how many there are
            self.set_images(len(saved))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def rule(self, similarities, samples):
        """See :class:`FalseNegatives`."""
        candidates = similarities.candidates
        own = image_indices(samples, self.images, 'Clusters')
        if candidates.indices is None:
            raise ValueError('Clusters: the candidates have no positions in the data set')
        theirs = self.labels[:, candidates.indices.clamp(min=0)]
        theirs = theirs.masked_fill(candidates.indices < 0, -1)
        pairs = [
            (samples.of_queries(labels[own])[:, None], other)
            for labels, other in zip(self.labels, theirs, strict=True)
        ]

        def alike(columns: slice, _: Tensor) -> Tensor:
            return torch.stack([(a == b[columns]) & (a >= 0) for a, b in pairs]).any(0)

        return alike

    @torch.no_grad()
    def observe(self, similarities, samples):
        """Keep the keys of the batch; cluster when it is time."""
        indices = all_gather(image_indices(samples, self.images, 'Clusters'))
        keys = all_gather(similarities.keys)
        # An image may be twice in a batch: its last key, on every rank and device.
        images, where = indices.unique(return_inverse=True)
        places = torch.arange(len(indices), device=indices.device)
        last = torch.zeros_like(images).scatter_reduce(0, where, places, 'amax', include_self=False)
        self.features[images] = keys[last].to(self.features.dtype)
        self.seen[images] = True
        clock = self.clock or Clock()
        since = clock.step - min(int(self.clustered), clock.step)
        if since >= clock.steps(self.every, self.unit, 'Clusters.every'):
            self.cluster(clock.step, self.acceptance(clock))

    def cluster(self, step: int, acceptance: float) -> None:
        """Label the images anew.

        Args:
            step: optimiser steps so far; also the seed.
            acceptance: share of the images seen that gets a label.
        """
        seen = self.seen.nonzero()[:, 0]
        if len(seen) < max(self.clusters):
            raise ValueError(
                f'Clusters: {len(seen)} images were seen by now, too few for clusters={self.clusters}; '
                'cluster less often (every) or into fewer'
            )
        features = self.features[seen]
        for level, count in enumerate(self.clusters):
            centroids = k_means(features, count, self.iterations, seed=step)
            labels, confidence = assign(features, centroids, self.temperature)
            accepted = confidence.argsort(descending=True)[: round(acceptance * len(seen))]
            self.labels[level] = -1
            self.labels[level, seen[accepted]] = labels[accepted]
        self.clustered.fill_(step)


def _own_share(count: int) -> slice:
    """Which of ``count`` rows this rank works on."""
    return slice(count * rank() // world_size(), count * (rank() + 1) // world_size())


@torch.no_grad()
def k_means(features: Tensor, count: int, iterations: int, seed: int) -> Tensor:
    """Spherical k-means (Dhillon and Modha, 2001); the ranks share the work and find the same.

    Args:
        features: (M, C) unit vectors, the same on every rank.
        count: k <= M, number of clusters.
        iterations: how many.
        seed: of the images that are the first centroids.

    Returns:
        (k, C) unit vectors; a cluster that loses its last member stays where it is.
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
    share = features[_own_share(len(features))]
    cosine, nearest = hardest_keys(share, centroids, 1)
    lse, _ = similarity_logsumexp(share / temperature, centroids)
    labels = nearest.new_zeros(len(features))
    confidence = lse.new_zeros(len(features))
    labels[_own_share(len(features))] = nearest[:, 0]
    confidence[_own_share(len(features))] = (cosine[:, 0] / temperature - lse).exp()
    return all_reduce(labels), all_reduce(confidence)
