"""Large memories that can undo their last writes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Journalled(nn.Module):
    """Buffers of which a step overwrites only a few rows.

    While ``journal`` is a list, the old rows and their places are stored there before they are overwritten.
    """

    #: Names of the buffers that only :meth:`overwrite` changes.
    journalled: Sequence[str] = ()
    journal: list[tuple[str, Tensor, Tensor]] | None = None

    @torch.no_grad()
    def overwrite(self, name: str, places: Tensor, rows: Tensor) -> None:
        """Write rows (G, ...) to places (G,) of a buffer. If a place repeats, its rows must be equal."""
        buffer = getattr(self, name)
        if self.journal is not None:
            self.journal.append((name, places, buffer[places]))
        buffer[places] = rows

    @torch.no_grad()
    def keep_where(self, counts: Tensor) -> None:
        """Empty the journal. If ``counts``, () bool, is false, undo all writes in it first."""
        for name, places, before in reversed(self.journal):
            buffer = getattr(self, name)
            buffer[places] = torch.where(counts, buffer[places], before)
        self.journal = []
