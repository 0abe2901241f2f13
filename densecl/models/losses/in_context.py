"""In-context prediction: the labels of a unit are predicted from similar units with labels (DIP)."""

import torch
from torch import Tensor

from densecl.distributed import all_gather, gather
from densecl.messages import check_choice
from densecl.numerics import cosines, full_precision, no_autocast
from densecl.registry import MODELS
from densecl.structures import Comparison, labels_in

from .objective import MEANS, Objective, mean_of, own_mean


@no_autocast
def in_context_votes(query: Tensor, support: Tensor, support_labels: Tensor, temperature: float) -> Tensor:
    """Votes for each query: the support's labels, weighted by ``softmax_j(cos(q_i, s_j) / temperature)``.

    Args:
        query: (B, N, D).
        support: (B, P, D).
        support_labels: (B, P, K), the share of each support unit that has each label; all 0 for units of
            other images.
        temperature: > 0.

    Returns:
        (B, N, K). The sum over K is at most 1 if it is so for each support unit.
    """
    weights = (cosines(query, support) / temperature).softmax(-1)
    return weights @ support_labels.to(weights.dtype)


@no_autocast
def in_context_terms(votes: Tensor, labels: Tensor, support_labels: Tensor) -> Tensor:
    """Cross entropy of a unit's labels with the votes. Only labels that the support has count.

    Args:
        votes: (B, N, K), from :func:`in_context_votes`.
        labels: (B, N, K), the share of each unit that has each label; normalised here to sum 1 over the
            labels that count.
        support_labels: (B, P, K).

    Returns:
        (B, N), 0 for a unit if the support has none of its labels.
    """
    tiny = torch.finfo(votes.dtype).tiny
    answers = labels.to(votes.dtype) * (support_labels > 0).any(1, keepdim=True)
    answers = answers / answers.sum(-1, keepdim=True).clamp(min=tiny)
    return -(answers * votes.clamp(min=tiny).log()).sum(-1)


@MODELS.register_module()
class InContext(Objective):
    """The segments of a unit are predicted from similar units whose segments are known.

    Dense in-context post-training (DIP, Sirko-Galouchenko et al., ICCV 2025), with labels from any masks. The
    support is the units of the key view, and the cells of ``others`` images, which belong to none of the
    segments. Soft nearest neighbours vote. The loss is the cross entropy of the labels with the votes, mean
    over the units that the rule matches. The official code applies one more softmax to the votes, see
    configs/dip/README.md.

    Args:
        temperature: of the cosines, beta in the paper; 0.07. If it is about 0.03 or more, no vote is lost to
            rounding in float32.
        others: number of further images whose cells are in the support: the next images of the batch of all
            processes, or all of them if there are fewer. 7 in the official code.
        shared_ids: ids of masks are classes, the same in all images. Then other images vote, too.
        mean: see :func:`~densecl.models.losses.objective.mean_of`.
    """

    needs = frozenset({'labels'})

    def __init__(
        self, temperature: float = 0.07, others: int = 7, shared_ids: bool = False, mean: str = 'counted'
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f'InContext: temperature must be > 0, got {temperature}')
        if others < 0:
            raise ValueError(f'InContext: others must be 0 or more further images, got {others}')
        self.temperature, self.others, self.shared_ids = temperature, others, shared_ids
        self.mean = check_choice('InContext: mean', mean, MEANS)

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and ``accuracy``, the share of units whose largest segment has the most votes."""
        query, found = comparison.query, comparison.match.found()
        support, labels = self.support(comparison)
        votes = in_context_votes(query.compared, support, labels, self.temperature)
        terms = in_context_terms(votes, query.labels, labels)
        right = (votes.argmax(-1) == query.labels.argmax(-1)).to(terms.dtype)
        return mean_of(terms, found, self.mean), {'accuracy': own_mean(right, found)}

    def support(self, comparison: Comparison) -> tuple[Tensor, Tensor]:
        """Support units (B, P, D) of the key view and of other images, and their labels (B, P, K), in the
        order of the query's labels."""
        query, key = comparison.query, comparison.key
        labels = full_precision(labels_in(key.labels, key.label_ids, query.label_ids))
        vectors = gather(key.vectors) if self.others else key.vectors
        count = min(self.others, len(vectors) - 1)
        if not count:
            return key.vectors, labels
        numbers = comparison.batch.numbers
        chosen = (numbers[:, None] + torch.arange(1, count + 1, device=numbers.device)) % len(vectors)
        others = vectors[chosen].flatten(1, 2)
        further = labels.new_zeros(*others.shape[:2], labels.shape[2])
        if self.shared_ids:
            known, ids = all_gather(key.labels)[chosen], all_gather(key.label_ids)[chosen]
            wanted = query.label_ids[:, None].expand(-1, count, -1)
            further = labels_in(known, ids, wanted).flatten(1, 2).to(labels.dtype)
        return torch.cat([key.vectors, others], 1), torch.cat([labels, further], 1)
