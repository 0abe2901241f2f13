"""Log-sum-exp of similarities in tiles: the whole similarity matrix is never in memory.

With 65,536 negatives and 49 cells an image, the logits of a dense contrastive loss are the largest
tensor of the whole training step. Here each tile of keys is visited once; its share of the sum, and of
the gradient for the queries, is accumulated with a running maximum (the online softmax of Milakov and
Gimelshein, 2018), so the result is exact up to rounding.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = {'cpu': 2048, 'cuda': 16384}


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        need_query, need_keys = ctx.needs_input_grad
        tile = TILE.get(query.device.type, 2048)
        top = query.new_full((len(query), 1), float('-inf'))
        total = torch.zeros_like(top)
        mean_key = torch.zeros_like(query) if need_query else None  # softmax-weighted sum of keys
        for block in keys.split(tile):
            logits = query @ block.T
            new_top = torch.maximum(top, logits.amax(1, keepdim=True))
            weights = logits.sub_(new_top).exp_()
            shrink = (top - new_top).exp_()
            total.mul_(shrink).add_(weights.sum(1, keepdim=True))
            if need_query:
                mean_key.mul_(shrink).addmm_(weights, block)
            top = new_top
        lse, top = (top + total.log()).squeeze(1), top.squeeze(1)
        ctx.save_for_backward(
            mean_key.div_(total) if need_query else None,
            *((query, keys, lse) if need_keys else (None, None, None)),
        )
        ctx.mark_non_differentiable(top)
        return lse, top

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_lse: Tensor, _):
        mean_key, query, keys, lse = ctx.saved_tensors
        grad_query = grad_keys = None
        if ctx.needs_input_grad[0]:
            grad_query = mean_key * grad_lse[:, None]
        if ctx.needs_input_grad[1]:
            weighted = query * grad_lse[:, None]
            tile = TILE.get(query.device.type, 2048)
            grad_keys = torch.cat(
                [(query @ b.T).sub_(lse[:, None]).exp_().T @ weighted for b in keys.split(tile)]
            )
        return grad_query, grad_keys


def similarity_logsumexp(query: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """``logsumexp_k(query_i . key_k)`` and ``max_k(query_i . key_k)``, tile by tile.

    Where ``keys`` need no gradient nothing of them is kept for the backward pass, so a queue may be
    overwritten right after.

    Args:
        query: (N, C), already divided by the temperature.
        keys: (K, C), K >= 1.

    Returns:
        Two (N,) tensors; the maximum carries no gradient.
    """
    return _LogSumExp.apply(query, keys)
