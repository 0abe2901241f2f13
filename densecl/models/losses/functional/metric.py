"""The cosine of BYOL and SimSiam."""

from torch import Tensor

from .precision import no_autocast, unit


@no_autocast
def negative_cosine(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean negative cosine similarity (SimSiam, Chen and He, 2021, eq. 1); BYOL's loss is 2 + 2 times it.

    Nothing is detached: stopping the target's gradient is the method's choice, and its caller's work.

    Args:
        prediction: (N, C).
        target: (N, C).

    Returns:
        Scalar in [-1, 1].
    """
    return -(unit(prediction) * unit(target)).sum(-1).mean()
