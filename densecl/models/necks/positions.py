"""Directions of feature space that encode a cell's position; found in rounds and removed (RASA)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from densecl.numerics import full_precision, no_autocast
from densecl.registry import MODELS
from densecl.schedule import Clock


def orthonormal(directions: Tensor) -> Tensor:
    """Gram-Schmidt, (n, D) -> (n, D): orthonormal rows with the same span; a dependent row becomes 0."""
    rows = []
    for row in full_precision(directions):
        length = row.norm()
        for other in rows:
            row = row - (row @ other) * other
        new = row.norm() > 1e-5 * length
        rows.append(torch.where(new, row / row.norm().clamp(min=torch.finfo(row.dtype).tiny), 0.0))
    return torch.stack(rows)


@no_autocast
def without_directions(features: Tensor, rounds: Sequence[Tensor]) -> Tensor:
    """Remove the directions of each round from the features, one round after the other.

    ``z <- z - sum_i <z, u_i> u_i`` with an orthonormal basis u of the round's directions (RASA, in
    Franca, Venkataramanan et al., 2025).

    Args:
        features: (..., D).
        rounds: the directions of each round, (n, D).

    Returns:
        (..., D) in float32 or better.
    """
    features = full_precision(features)
    for directions in rounds:
        basis = orthonormal(directions).to(features.dtype)
        features = features - (features @ basis.mT) @ basis
    return features


def folded(rounds: Sequence[Tensor]) -> Tensor:
    """One matrix P (D, D), float64, for all rounds: ``P z`` is :func:`without_directions` of z.

    P is the product of the rounds' projections, as directions of two rounds need not be orthogonal.
    """
    identity = torch.eye(rounds[0].shape[1], dtype=torch.float64, device=rounds[0].device)
    return without_directions(identity, [directions.double() for directions in rounds]).mT


@MODELS.register_module()
class PositionPredictor(nn.Module):
    """(B, C, H, W) -> (B, 2, H, W) in [0, 1]: the position of each cell, a sigmoid of two linear functions.

    The run is divided into equal rounds. Each round trains its own two functions, on features without the
    directions of earlier rounds, which are then fixed. If there are several rounds, ``clock`` must know the
    length of the run.

    Args:
        channels: C.
        rounds: number of rounds; 9.
    """

    def __init__(self, channels: int, rounds: int = 9) -> None:
        super().__init__()
        if rounds < 1:
            raise ValueError(f'PositionPredictor: rounds must be 1 or more, got {rounds}')
        layers = (nn.Linear(channels, 2, bias=False) for _ in range(rounds))
        self.rounds = nn.ParameterList(layer.weight for layer in layers)
        #: Number of rounds that were started. The directions of the others are still random.
        self.register_buffer('begun', torch.zeros((), dtype=torch.int64))
        self.clock: Clock | None = None

    @property
    def round(self) -> int:
        """The present round, from 0."""
        count, clock = len(self.rounds), self.clock or Clock()
        if count == 1:
            return 0
        return min(int(clock.step * count / clock.steps(1, 'run', 'PositionPredictor')), count - 1)

    def frozen_parameters(self) -> list[nn.Parameter]:
        """The parameters of all rounds except the present one."""
        return [p for i, p in enumerate(self.rounds) if i != self.round]

    def forward(self, x: Tensor) -> Tensor:
        """See the class. The prediction for a cell depends only on its own features."""
        now = self.round
        if self.training:
            self.begun.fill_(now + 1)
        earlier = [p.detach() for p in self.rounds[:now]]
        rest = without_directions(x.permute(0, 2, 3, 1), earlier)
        with torch.autocast(x.device.type, enabled=False):
            found = (rest @ self.rounds[now].to(rest.dtype).mT).sigmoid()
            # Data-parallel training waits for a gradient of every parameter.
            found = found + sum(p.sum() * 0.0 for p in self.frozen_parameters())
        return found.permute(0, 3, 1, 2)
