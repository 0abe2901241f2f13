"""SimCSE from its equations, and rank correlation from its definition; in float64, one text at a time."""

import torch
from torch import Tensor


def simcse(first: Tensor, second: Tensor, hard: Tensor | None, t: float, weight: float) -> Tensor:
    """``-log e^(s_ii / t) / sum_j (e^(s_ij / t) + a_ij e^(h_ij / t))``, a_ii = e^weight, else 1."""

    def cosine(a: Tensor, b: Tensor) -> Tensor:
        return a @ b / (a.square().sum().sqrt() * b.square().sum().sqrt())

    total = 0.0
    for i, query in enumerate(first):
        below = sum((cosine(query, key) / t).exp() for key in second)
        if hard is not None:
            for j, key in enumerate(hard):
                alpha = torch.tensor(weight, dtype=torch.float64).exp() if i == j else 1.0
                below = below + alpha * (cosine(query, key) / t).exp()
        total = total - ((cosine(query, second[i]) / t).exp() / below).log()
    return total / len(first)
