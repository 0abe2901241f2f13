"""What every matching rule is: two sets of units in, one :class:`~densecl.structures.Match` out."""

from typing import ClassVar

from torch import Tensor, nn

from densecl.structures import Batch, Match, Units


class Rule(nn.Module):
    """Says which units of the key view answer those of the query view."""

    #: Properties that units must have (``UnitProducer.gives``).
    needs: ClassVar[frozenset[str]] = frozenset()
    #: Whether every unit has exactly one answer, which objectives on rows ask for.
    one_answer: ClassVar[bool] = False
    #: Whether candidates of other images may answer too (``Match.across``).
    across: ClassVar[bool] = False

    def forward(self, query: Units, key: Units, batch: Batch) -> Match:
        """Match B images' units; see :class:`~densecl.structures.Match`. Nothing here has a gradient."""
        raise NotImplementedError


def among_valid(mask: Tensor, query: Units, key: Units) -> Tensor:
    """A (B, N, M) mask without the units that are not there."""
    if query.valid is not None:
        mask = mask & query.valid[:, :, None]
    return mask if key.valid is None else mask & key.valid[:, None]
