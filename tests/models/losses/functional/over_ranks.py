"""Run by test_functional_over_ranks.py: losses and gradients to a file.

A weight makes each rank's features from its rows of one global batch; the gradient in the file is the mean
over the ranks, as distributed data-parallel training takes it.
"""

import torch
from torch import Tensor

from densecl.distributed import all_reduce, gather, rank, world_size
from densecl.models.losses import functional as L
from densecl.models.losses.labels import orthonormal_prototypes

LABELS = torch.tensor([0, 1, 2, 0, 1, -1])
ANCHORS = orthonormal_prototypes(3, 5, torch.Generator().manual_seed(0)).double()

# Losses that need the whole batch: of two gathered views.
WHOLE = {
    'nt_xent': lambda a, b: L.nt_xent(a, b, 0.2),
    'moco_v3': lambda a, b: L.moco_v3(a, b, a.detach(), b.detach(), 0.2),
    'direct_clr': lambda a, b: L.direct_clr(a, b, 3, 0.2),
    'sup_con': lambda a, b: L.sup_con(torch.cat([a, b]), LABELS.repeat(2), 0.2),
    'sup_con_in': lambda a, b: L.sup_con(torch.cat([a, b]), LABELS.repeat(2), 0.2, form='in'),
    'sincere': lambda a, b: L.sincere(torch.cat([a, b]), LABELS.repeat(2), 0.2),
    'decoupled': lambda a, b: L.decoupled(a, b, 0.2),
    'decoupled_weighted': lambda a, b: L.decoupled(a, b, 0.2, sigma=0.5),
    'debiased': lambda a, b: L.debiased_nt_xent(a, b, 0.2, 0.1),
    'hard': lambda a, b: L.hard_nt_xent(a, b, 0.2, 0.1, 1.0),
    'barlow_twins': lambda a, b: L.barlow_twins(a, b, 0.1),
    'vicreg': lambda a, b: L.vicreg(a, b, 25, 25, 1),
    'clip_loss': lambda a, b: L.clip_loss(a, b, 5.0),
    'siglip_loss': lambda a, b: L.siglip_loss(a, b, 5.0, -2.0),
    'simcse': lambda a, b: L.simcse_loss(a, b, b.sin(), 0.2, 0.5),
}
# Means over rows that do not know of each other: of each rank's own views.
ROWS = {
    'negative_cosine': L.negative_cosine,
    'triplet_margin': lambda a, b: L.triplet_margin(a, b, b.flip(1), 0.5),
    'info_nce': lambda a, b: L.info_nce(a, b, ANCHORS, 0.2),
    'tiled_info_nce': lambda a, b: L.tiled_info_nce(a, b, ANCHORS, 0.2, 2),
    'self_distillation': lambda a, b: L.self_distillation([a, b], [b, a], ANCHORS[0], 0.1, 0.04),
    'masked_token_loss': lambda a, b: L.masked_token_loss(a, b.detach().softmax(-1), masks(), 0.1),
    'patch_kernel_alignment': lambda a, b: L.patch_kernel_alignment(tokens(a), tokens(b)),
    'similarity_distillation': lambda a, b: L.similarity_distillation(tokens(a), tokens(b), 0.2),
    'queue_distillation': lambda a, b: L.queue_distillation(a, b, ANCHORS, 0.2),
    'in_context': lambda a, b: L.in_context(tokens(a), tokens(b), *2 * [shares(a)], 0.2),
    'neco_loss': lambda a, b: L.neco_loss(*(maps(x) for x in (a, b, b.flip(1))), 9.0, 9.0),
    'swapped_prediction': lambda a, b: L.swapped_prediction(a, b, *codes(a, b), 0.1),
}


def tokens(x: Tensor) -> Tensor:
    """(N, D) -> (N, 3, D): three tokens of each image."""
    return torch.stack([x, x.square(), x.sin()], 1)


def maps(x: Tensor) -> Tensor:
    """The same as (N, D, 3, 1)."""
    return tokens(x).mT[..., None]


def shares(x: Tensor) -> Tensor:
    """(N, 3, 3): each token has a label of its own."""
    return torch.eye(3, dtype=x.dtype).expand(len(x), -1, -1)


def masks() -> Tensor:
    """Of four crops; each process has two of them, and three masked tokens."""
    every = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]], dtype=torch.bool)
    return every.chunk(world_size())[rank()]


def codes(*scores: Tensor) -> list[Tensor]:
    return [L.sinkhorn(x.tanh(), 0.05, 3, across_ranks=True) for x in scores]


def everything() -> dict[str, list[Tensor]]:
    """Each loss and its gradient, averaged over the ranks there are."""
    generator = torch.Generator().manual_seed(1)
    batch = torch.randn(2, 6, 4, dtype=torch.float64, generator=generator)
    weight = torch.randn(4, 5, dtype=torch.float64, generator=generator).requires_grad_()
    view1, view2 = batch.chunk(world_size(), dim=1)[rank()] @ weight
    losses = {name: loss(gather(view1), gather(view2)) for name, loss in WHOLE.items()}
    losses |= {name: loss(view1, view2) for name, loss in ROWS.items()}
    found = {}
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
        found[name] = [all_reduce(x.detach()) / world_size() for x in (loss, gradient)]
    # The plain Sinkhorn knows its own rows only.
    own = L.sinkhorn(view1.detach().tanh(), 0.05, 3)
    found['codes'] = [gather(codes(view1)[0]), gather(own)]
    return found
