"""The base class of rules that find false negatives, for ``negatives=`` of InfoNCE."""

from torch import nn

from densecl.messages import check_choice
from densecl.structures import Batch, Units

from ..candidates import Scores
from ..kernel import Keep


class Filter(nn.Module):
    """The base class of rules that find false negatives.

    ``treatment='elimination'`` removes the false negatives F from the denominator. ``'attraction'`` makes
    them answers, too: ``-1/(1 + |F|) sum log softmax`` over the answer and F, with the form ``'out'``.
    """

    def __init__(self, treatment: str = 'elimination') -> None:
        super().__init__()
        check_choice(f'{type(self).__name__}: treatment', treatment, ('elimination', 'attraction'))
        #: What the false negatives become.
        self.role = 'ignored' if treatment == 'elimination' else 'answer'

    def rule(self, scores: Scores) -> Keep | None:
        """``rule(columns, cosines (R, k)) -> bool (R, k)``, true for false negatives; None: no rule yet."""
        raise NotImplementedError

    def learn(self, keys: list[Units], batch: Batch) -> None:
        """Learn from the step's key sets and scores; called once a step, in training only."""
