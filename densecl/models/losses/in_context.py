"""What a unit is, is read off labelled units that look like it: in-context prediction (DIP)."""

import torch
from torch import Tensor

from densecl.distributed import all_gather, gather
from densecl.numerics import full_precision, no_autocast, unit
from densecl.registry import MODELS
from densecl.structures import Comparison, labels_in

from .objective import Objective, check_mean, mean_of, own_mean


@no_autocast
def in_context_votes(query: Tensor, support: Tensor, support_labels: Tensor, temperature: float) -> Tensor:
    """Labels of the support, weighted by ``softmax_j(cos(q_i, s_j) / temperature)``.

    Args:
        query: (B, N, D).
        support: (B, P, D).
        support_labels: (B, P, K), how much of each support unit has each label; all 0 for units of others.
        temperature: > 0.

    Returns:
        (B, N, K), with a sum of at most 1 where that of each support unit is.
    """
    weights = (unit(query) @ unit(support).mT / temperature).softmax(-1)
    return weights @ support_labels.to(weights.dtype)


@no_autocast
def in_context_terms(votes: Tensor, labels: Tensor, support_labels: Tensor) -> Tensor:
    """Cross entropy of a unit's labels, those that the support has, and what was voted for.

    Args:
        votes: (B, N, K), of :func:`in_context_votes`.
        labels: (B, N, K), how much of each unit has each label; made to add up to 1 over those counted.
        support_labels: (B, P, K).

    Returns:
        (B, N), 0 for a unit of whose labels the support has none.
    """
    tiny = torch.finfo(votes.dtype).tiny
    answers = labels.to(votes.dtype) * (support_labels > 0).any(1, keepdim=True)
    answers = answers / answers.sum(-1, keepdim=True).clamp(min=tiny)
    return -(answers * votes.clamp(min=tiny).log()).sum(-1)


@MODELS.register_module()
class InContext(Objective):
    """A unit's segments are predicted from units that look like it and whose segments are known.

    Dense in-context post-training (DIP, Sirko-Galouchenko et al., ICCV 2025), with the labels of any masks:
    the support is the key view, and cells of ``others`` images, which belong to none of the segments. Soft
    nearest neighbours vote; the loss is the cross entropy of their votes, a mean over the units that the rule
    matches. The official code takes a softmax of the votes once more, see configs/dip/README.md.

    Args:
        temperature: of the cosines, beta in the paper; 0.07. From some 0.03 on no vote is lost in float32.
        others: further images of the batch of all processes, those that come next, whose cells are
            candidates too; all there are where these are fewer. 7 in the official code.
        shared_ids: the ids of masks are names of classes, the same in all images: other images vote, too.
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
        self.mean = check_mean(mean, 'InContext')

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss; ``accuracy`` is the share of units whose largest segment has most votes."""
        query, found = comparison.query, comparison.match.found()
        support, labels = self.support(comparison)
        votes = in_context_votes(query.compared, support, labels, self.temperature)
        terms = in_context_terms(votes, query.labels, labels)
        right = (votes.argmax(-1) == query.labels.argmax(-1)).to(terms.dtype)
        return mean_of(terms, found, self.mean), {'accuracy': own_mean(right, found)}

    def support(self, comparison: Comparison) -> tuple[Tensor, Tensor]:
        """(B, P, D) units of the image's key view and of other images, (B, P, K) the query's labels there."""
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
