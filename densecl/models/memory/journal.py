"""Large memories that can take back what they wrote last."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Journalled(nn.Module):
    """Buffers of which a step overwrites a few rows.

    While ``journal`` is a list, the rows that are overwritten are noted there with their places.
    """

    #: Names of the buffers that are changed by :meth:`overwrite` alone.
    journalled: Sequence[str] = ()
    journal: list[tuple[str, Tensor, Tensor]] | None = None

    @torch.no_grad()
    def overwrite(self, name: str, places: Tensor, rows: Tensor) -> None:
        """Put (G, ...) rows at (G,) places of a buffer; for a place that comes twice both rows are equal."""
        buffer = getattr(self, name)
        if self.journal is not None:
            self.journal.append((name, places, buffer[places]))
        buffer[places] = rows

    @torch.no_grad()
    def keep_where(self, counts: Tensor) -> None:
        """Forget what was noted; where () bool ``counts`` is false, undo it first."""
        for name, places, before in reversed(self.journal):
            buffer = getattr(self, name)
            buffer[places] = torch.where(counts, buffer[places], before)
        self.journal = []
