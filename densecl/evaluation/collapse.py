"""How much of their space embeddings use."""

import torch
import torch.nn.functional as F
from torch import Tensor


def _unit(z: Tensor) -> Tensor:
    return F.normalize(z if z.dtype == torch.float64 else z.float(), dim=-1)


def embedding_std(z: Tensor) -> Tensor:
    """Standard deviation of unit embeddings over samples, mean over channels, times sqrt(C).

    About 1 for directions spread evenly over the sphere, 0 for complete collapse (SimSiam, Chen and He, 2021,
    section 4.1, there without the factor).

    Args:
        z: (N, C), N >= 2.
    """
    return _unit(z).std(0, unbiased=False).mean() * z.shape[1] ** 0.5


def effective_rank(z: Tensor) -> Tensor:
    """``exp(entropy of the normalised singular values)`` of unit embeddings (Roy and Vetterli, 2007; RankMe,
    Garrido et al., 2023): between 1, a single direction, and min(N, C).

    Args:
        z: (N, C).
    """
    singular = torch.linalg.svdvals(_unit(z))
    p = singular / singular.sum()
    return torch.special.entr(p).sum().exp()


def alignment(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared distance of positive pairs on the sphere (Wang and Isola, 2020); lower is closer.

    Args:
        x, y: (N, C), row by row the two views of one sample.
    """
    return (_unit(x) - _unit(y)).square().sum(1).mean()


def uniformity(z: Tensor, t: float = 2.0) -> Tensor:
    """``log mean exp(-t d^2)`` over pairs of samples (Wang and Isola, 2020); lower is more uniform.

    Args:
        z: (N, C), N >= 2.
        t: scale.
    """
    return F.pdist(_unit(z)).square().mul(-t).exp().mean().log()


@torch.no_grad()
def embedding_statistics(z: Tensor) -> dict[str, float]:
    """``std``, ``rank``, ``neg_sim`` and ``uniformity`` of (N, C) embeddings.

    ``neg_sim`` is the mean cosine of different samples. One copy to the host for all of them.
    """
    z = _unit(z)
    n = len(z)
    neg_sim = (z.sum(0).square().sum() - n) / max(n * (n - 1), 1)
    values = torch.stack([embedding_std(z), effective_rank(z), neg_sim, uniformity(z)]).tolist()
    return dict(zip(('std', 'rank', 'neg_sim', 'uniformity'), values, strict=True))
