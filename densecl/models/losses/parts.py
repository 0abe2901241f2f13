"""What an InfoNCE loss may be given beside its formula: ``negatives=`` and ``temperature=``."""

from torch import Tensor, nn

from densecl.structures import Batch, Comparison, Units

from .candidates import Scores
from .kernel import Keep

__all__ = ['Filter', 'Keep', 'Mass', 'Scores', 'Temperature']


class Mass(nn.Module):
    """How negatives are weighted."""

    def forward(self, scores: Scores) -> Tensor:
        """(R,) log of the negatives' part of the denominator, -inf where there are none."""
        raise NotImplementedError

    def learn(self, batch: Batch) -> None:
        """Take in what this step's scores told; called once a step, in training only."""


class Filter(nn.Module):
    """Which candidates are false negatives.

    ``treatment='elimination'`` takes them out of the denominator; ``'attraction'`` leaves them there and
    makes them answers too: ``-1/(1 + |F|) sum log softmax`` over the answer and F.
    """

    def __init__(self, treatment: str = 'elimination') -> None:
        super().__init__()
        if treatment not in ('elimination', 'attraction'):
            raise ValueError(
                f"{type(self).__name__}: treatment must be 'elimination' or 'attraction', got {treatment!r}"
            )
        #: What its candidates become.
        self.role = 'ignored' if treatment == 'elimination' else 'answer'

    def rule(self, scores: Scores) -> Keep | None:
        """``rule(columns, cosines (R, k)) -> bool (R, k)``: which are false negatives; None: none yet."""
        raise NotImplementedError

    def learn(self, keys: list[Units], batch: Batch) -> None:
        """Take in the step's key sets and scores; called once a step, in training only."""


class Temperature(nn.Module):
    """Which temperature each query has."""

    #: Channels that vectors carry in front for the temperature's use.
    extra_channels = 0

    def forward(self, cosine: Tensor, comparison: Comparison, extra: Tensor | None) -> Tensor | float | None:
        """A number, a scalar or (R,); None for the temperature-free form.

        Args:
            cosine: (R,), the mean with the answers in its own image.
            comparison: what is compared.
            extra: (R, ``extra_channels``) outputs of the projector, or None.
        """
        raise NotImplementedError

    def observe(self, scores: Scores) -> None:
        """Keep what the scores tell for :meth:`learn`; called in training only."""

    def learn(self, batch: Batch) -> None:
        """Take in what this step's scores told; called once a step, in training only."""
