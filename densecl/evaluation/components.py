"""Principal components."""

import torch
from torch import Tensor

from densecl.numerics import full_precision


def principal_components(rows: Tensor, count: int) -> Tensor:
    """Scores of rows on their principal components.

    Args:
        rows: (N, C) of any floating type; their mean is subtracted.
        count: K; C if there are fewer channels.

    Returns:
        (N, K) float32 or better, largest variance first. To fix the sign, each direction's largest entry is
        positive.
    """
    rows = full_precision(rows)
    rows = rows - rows.mean(0)
    directions = torch.linalg.eigh((rows.T @ rows).double())[1].flip(1)[:, :count]  # eigh sorts ascending
    directions = directions * directions.gather(0, directions.abs().argmax(0)[None]).sign()
    return rows @ directions.to(rows)
