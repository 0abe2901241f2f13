"""False negatives by clustering the momentum encoder's keys of all images."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from densecl.distributed import all_reduce, rank, world_size
from densecl.models.memory import PerImage
from densecl.numerics import unit as unit_length
from densecl.registry import MODELS
from densecl.schedule import Clock, Schedule

from ..kernel import hardest_keys, similarity_logsumexp
from .base import Filter


@MODELS.register_module()
class Clusters(Filter):
    """Candidates in the query's cluster are false negatives, for more images over time (IFND, Chen et al.,
    2022).

    The last key of every image is stored. At intervals, all stored keys are clustered by k-means on cosines,
    once for each number in ``clusters``. The confidence of an image is the softmax, over the centroids, of
    cosine / ``temperature``, at its own centroid. The most confident images get their cluster as a label; the
    share of such images grows over the run. A candidate is a false negative if it and the query's image have
    the same label in at least one clustering. Present views of the query's own image never are.

    Interval, clusters, temperature and the way to combine clusterings could not be verified: there is no
    official code.

    Args:
        dim: width C of the keys.
        clusters: numbers of clusters k, one for each clustering.
        images: number of images of the data set; None: ``DataSizeHook`` sets it.
        every: interval between clusterings, in ``unit``: ``'epoch'``, ``'step'`` or ``'run'`` (a share).
        acceptance: share of the images that get a label, a number or a schedule's config.
        temperature: of the confidence.
        iterations: of k-means.
        treatment: see :class:`.Filter`; the paper prefers elimination without labels.
    """

    def __init__(
        self,
        dim: int,
        clusters: Sequence[int],
        images: int | None = None,
        every: float = 1,
        unit: str = 'epoch',
        acceptance: float | dict | None = None,
        temperature: float = 0.1,
        iterations: int = 20,
        treatment: str = 'elimination',
    ) -> None:
        super().__init__(treatment)
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
        self.every, self.unit = every, unit
        growing = dict(start=0.0, end=1.0, shape='linear')
        self.acceptance = Schedule.of(growing if acceptance is None else acceptance, 'Clusters.acceptance')
        self.temperature, self.iterations = temperature, iterations
        start = dict(features=torch.zeros(dim), seen=torch.tensor(False))
        self.state = PerImage(images, 'Clusters', **start, labels=torch.full((len(self.clusters),), -1))
        self.clustered: int | None = None  # the step of the last clustering; a step may have several batches
        self.clock: Clock | None = None

    def rule(self, scores):
        mine = scores.of_rows(self.state.read(scores.comparison.batch, 'labels'))
        if (indices := scores.candidates.indices) is None:
            raise ValueError('Clusters: the candidates have no positions in the data set')
        theirs = self.state.labels[indices.clamp(min=0)].masked_fill(indices[:, None] < 0, -1)
        pairs = [(a[:, None], b.contiguous()) for a, b in zip(mine.T, theirs.T, strict=True)]

        def alike(columns: slice, _: Tensor) -> Tensor:
            return torch.stack([(a == b[columns]) & (a >= 0) for a, b in pairs]).any(0)

        return alike

    @torch.no_grad()
    def learn(self, keys, batch):
        """Store the step's keys, and cluster if the interval is over."""
        images = self.state.indices(batch.of_all())
        vectors = unit_length(keys[-1].of_all('pooled'))
        self.state.write(images, features=vectors, seen=torch.ones_like(images, dtype=torch.bool))
        clock = self.clock or Clock()
        interval = clock.steps(self.every, self.unit, 'Clusters.every')
        before, now = (int(max(s, 0) / interval + 1e-9) for s in (clock.step - 1, clock.step))
        if now > before and clock.step != self.clustered:
            self.cluster(clock.step, self.acceptance(clock))

    def cluster(self, step: int, acceptance: float) -> None:
        """Cluster, and label the share ``acceptance`` of the images seen. It waits for the device.

        The step is the seed.
        """
        seen = self.state.seen.nonzero()[:, 0]
        if len(seen) < max(self.clusters):
            raise ValueError(
                f'Clusters: {len(seen)} images were seen by now, too few for clusters={self.clusters}; '
                'cluster less often (every) or into fewer'
            )
        features, found = self.state.features[seen], torch.full_like(self.state.labels, -1)
        for level, count in enumerate(self.clusters):
            centroids = k_means(features, count, self.iterations, seed=step)
            labels, confidence = assign(features, centroids, self.temperature)
            accepted = confidence.argsort(descending=True)[: round(acceptance * len(seen))]
            found[seen[accepted], level] = labels[accepted]
        self.state.overwrite('labels', torch.arange(len(found), device=found.device), found)
        self.clustered = step


def _own_share(count: int) -> slice:
    """The rows, of ``count``, that this rank works on."""
    return slice(count * rank() // world_size(), count * (rank() + 1) // world_size())


@torch.no_grad()
def k_means(features: Tensor, count: int, iterations: int, seed: int) -> Tensor:
    """Spherical k-means (Dhillon and Modha, 2001). The ranks share the work and get the same result.

    ``features`` are unit vectors (M, C), equal on every rank. The result is ``count`` <= M centroids, unit
    vectors. The first centroids are features drawn with ``seed``. A centroid without members does not move.
    """
    generator = torch.Generator().manual_seed(seed)
    first = torch.randperm(len(features), generator=generator)[:count]
    centroids = features[first.to(features.device)]
    share = features[_own_share(len(features))]
    for _ in range(iterations):
        nearest = hardest_keys(share, centroids, 1)[1][:, 0]
        sums = all_reduce(torch.zeros_like(centroids).index_add(0, nearest, share))
        centroids = torch.where(sums.any(1, keepdim=True), unit_length(sums), centroids)
    return centroids


@torch.no_grad()
def assign(features: Tensor, centroids: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The nearest centroid of each of M features (M,), and its softmax probability (M,)."""
    rows = _own_share(len(features))
    cosine, nearest = hardest_keys(features[rows], centroids, 1)
    lse, _ = similarity_logsumexp(features[rows] / temperature, centroids)
    labels, confidence = nearest.new_zeros(len(features)), lse.new_zeros(len(features))
    labels[rows], confidence[rows] = nearest[:, 0], (cosine[:, 0] / temperature - lse).exp()
    return all_reduce(labels), all_reduce(confidence)
