"""Clusters that are learned together with the network, and predicted by it."""

import torch
from torch import Tensor, nn

from densecl.messages import check_choice
from densecl.numerics import no_autocast, unit
from densecl.registry import MODELS
from densecl.structures import Comparison

from .assignment import cross_entropy, entropy, groups_told_apart, log_shares, sinkhorn
from .objective import MEANS, Objective, mean_of, own_mean


@no_autocast
def linear_scores(keys: Tensor, clusters: nn.Linear) -> Tensor:
    """Scores of K clusters for the normalised keys, (B, N, D) -> (B, N, K), without gradient to the keys."""
    return clusters(unit(keys.detach()).to(clusters.weight.dtype))


@MODELS.register_module()
class OnlineClusters(Objective):
    """The query predicts the cluster of its answer (CAPI, Darcet et al., 2025).

    A linear layer on the answers' unit vectors scores K clusters. Sinkhorn's algorithm turns these scores
    into assignments that use all clusters equally. The assignments are the target of two cross entropies,
    which are added. The first trains only the linear layer, on all valid units of the key side. In the second
    the queries, which are scores of K clusters, predict the assignments of their answers; queries without an
    answer do not count. Give the layer its own learning rate with ``paramwise_cfg``
    (``match=r'objective\\.clusters'``).

    Args:
        dim: width of the keys.
        clusters: number K of clusters.
        temperature: > 0, of both predictions; 0.12.
        assignment_temperature: > 0, of Sinkhorn's algorithm; 0.06.
        iterations: of Sinkhorn's algorithm.
        position_wise: assignments use all clusters equally at each place of the image, over the images of all
            processes. So no cluster can stand for a place, but many images are needed. Otherwise all clusters
            are used equally over all units.
        mean: of the prediction, see :func:`~densecl.models.losses.objective.mean_of`.
    """

    needs = frozenset({'several', 'one answer'})
    assigns = keeps_keys = True

    def __init__(
        self,
        dim: int,
        clusters: int,
        temperature: float = 0.12,
        assignment_temperature: float = 0.06,
        iterations: int = 3,
        position_wise: bool = True,
        mean: str = 'counted',
    ) -> None:
        super().__init__()
        if min(temperature, assignment_temperature) <= 0:
            raise ValueError(
                f'OnlineClusters: temperatures must be > 0, got {temperature} and {assignment_temperature}'
            )
        self.clusters = nn.Linear(dim, clusters)
        nn.init.normal_(self.clusters.weight)
        nn.init.zeros_(self.clusters.bias)
        self.temperature, self.assignment_temperature = temperature, assignment_temperature
        self.iterations, self.position_wise = iterations, position_wise
        self.mean = check_choice('OnlineClusters: mean', mean, MEANS)

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and diagnostics.

        ``clusters`` is the part of the loss that trains the clusters. ``usage_entropy`` is the entropy of the
        mean assignment divided by ln K. For ``groups`` see
        :func:`~densecl.models.losses.assignment.groups_told_apart`.
        """
        match, query = comparison.match, comparison.query.compared
        if query.shape[-1] != self.clusters.out_features:
            raise ValueError(
                f'OnlineClusters: clusters={self.clusters.out_features}, but the projector gives '
                f'{query.shape[-1]} scores; give both the same number'
            )
        scores = linear_scores(comparison.key.vectors, self.clusters)
        valid = comparison.key.valid
        assigned = self.assignments(scores.detach(), valid)
        clusters = mean_of(cross_entropy(log_shares(scores, self.temperature), assigned), valid, 'counted')
        terms = cross_entropy(log_shares(query, self.temperature), match.sum_of(assigned))
        loss = mean_of(terms, match.found(), self.mean)
        there = torch.ones_like(terms, dtype=torch.bool) if valid is None else valid
        usage = entropy(assigned.sum((0, 1)) / there.sum().clamp(min=1))  # those of other units are 0
        groups = groups_told_apart(usage, own_mean(entropy(assigned), valid), assigned.shape[-1])
        return loss + clusters, {'clusters': clusters.detach(), 'usage_entropy': usage, 'groups': groups}

    def assignments(self, scores: Tensor, valid: Tensor | None = None) -> Tensor:
        """Scores (B, N, K) -> shares of the clusters (B, N, K); the sum of each unit is 1.

        Units that are not ``valid``, (B, N) bool, take no part and get zeros; None: all are.
        """
        rows = scores if self.position_wise else scores.flatten(0, 1)
        there = valid if valid is None or self.position_wise else valid.flatten()
        found = sinkhorn(rows, self.assignment_temperature, self.iterations, across_ranks=True, valid=there)
        return found.view(scores.shape)
