"""Run by test_collectives.py: values and gradients of this rank to a file.

A parameter ``weight`` makes each rank's features from its rows of one global batch; what the file holds is
what distributed data-parallel training would use, the mean over the ranks of the weight's gradient.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from densecl.distributed import all_gather, all_gather_together, all_reduce, gather, rank, world_size
from densecl.models.losses.kernel import similarity_logsumexp

ROWS = 12


def batch() -> tuple[Tensor, Tensor]:
    """The global batch and the weight, the same in every process."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(ROWS, 6, generator=generator, dtype=torch.float64)
    weight = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    return x, weight.requires_grad_()


def own(x: Tensor) -> Tensor:
    """This rank's rows."""
    return x.chunk(world_size())[rank()]


def keep(first: int, count: int):
    """Nobody is his own negative, and the third row of the batch has no negatives at all."""
    index = torch.arange(first, first + count)[:, None]

    def rule(columns: slice, logits: Tensor) -> Tensor:
        others = index != torch.arange(columns.start, columns.stop)
        return others & (index != 2) & (logits > -1)

    return rule


def contrast(z: Tensor, kind: str, mask: bool) -> Tensor:
    """Mean over own rows of softplus(log-sum-exp over all ranks' rows - positive logit)."""
    query = 3 * F.normalize(z, dim=1)
    keys = F.normalize(z.flip(1), dim=1)
    rule = keep(rank() * len(z), len(z)) if mask else None
    if kind == 'gather':
        lse, top = similarity_logsumexp(query, gather(keys), rule)
    else:
        lse, top = similarity_logsumexp(query, keys, rule, tile=2, ring=True)
    assert not top.requires_grad
    return F.softplus(lse - (query * keys).sum(1)).mean()


def whole_batch_loss(z: Tensor) -> Tensor:
    """Every rank computes the same loss from everybody's rows and from summed moments."""
    everybody = gather(z)
    moments = all_reduce(z.T @ z) / ROWS
    return (everybody @ everybody.T).pow(2).mean() + moments.diagonal().pow(3).sum()


def losses(z: Tensor) -> dict[str, Tensor]:
    """Each loss by name."""
    found = {'whole': whole_batch_loss(z)}
    for mask in (False, True):
        for kind in ('gather', 'ring'):
            found[f'{kind}{"_masked" if mask else ""}'] = contrast(z, kind, mask)
    return found


def together(x: Tensor) -> list[Tensor]:
    """Tensors of three shapes and dtypes, one of them not contiguous, gathered together."""
    mine = own(x)
    parts = [mine.float().view(-1, 2, 3), mine.long(), mine.T[:4].T.float(), mine, mine[:, :0].float()]
    gathers, original = [], dist.all_gather
    dist.all_gather = lambda *args: gathers.append(args[1].dtype) or original(*args)
    try:
        gathered = all_gather_together(parts)
    finally:
        dist.all_gather = original
    assert gathers == [torch.float32, torch.int64, torch.float64]
    return gathered


def everything() -> dict:
    x, weight = batch()
    results = {'rows': all_gather(own(x)), 'together': together(x)}
    for name, loss in losses(own(x) @ weight).items():
        (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
        both = [loss.detach().clone(), gradient.clone()]
        for value in both:
            dist.all_reduce(value)
            value /= world_size()
        results[name] = both
    return results
