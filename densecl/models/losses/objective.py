"""What every objective is: one argument, one return type."""

from typing import ClassVar

from torch import Tensor, nn

from densecl.models.memory import Queue
from densecl.structures import Batch, Comparison, Units


class Objective(nn.Module):
    """Scores how well units match.

    A head scores every pair of views first; then, in training, the objective remembers the step's keys, once.
    """

    #: Properties that units must have (``UnitProducer.gives``), and what else is asked for: ``'one answer'``
    #: of the matching rule, ``'own'`` of the head.
    needs: ClassVar[frozenset[str]] = frozenset()
    #: Whether it meets candidates of other images, which a rule may name as answers (``Match.across``).
    across: ClassVar[bool] = False
    #: Whether it compares with a key at all.
    needs_keys: ClassVar[bool] = True

    @property
    def watched_queue(self) -> Queue | None:
        """The queue whose age is logged, where there is one."""
        return None

    def score(self, comparison: Comparison) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar loss of one pair of views, and diagnostics without gradient."""
        raise NotImplementedError

    def remember(self, keys: list[Units], batch: Batch) -> None:
        """Take in the step's key sets, each once; called without gradient, in training only."""
