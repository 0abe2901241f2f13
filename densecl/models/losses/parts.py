"""What an InfoNCE loss is made of, until the branch `contrast` is merged: its file wins."""

from dataclasses import dataclass, replace

from torch import Tensor, nn

from densecl.schedule import Clock, Schedule
from densecl.structures import Comparison

from .candidates import Candidates, Keep
from .similarities import two_artanh
from .tiled_functions import tiled_row_sum


@dataclass
class Scores:
    """R = B * N queries, each with its positive and its negatives."""

    query: Tensor
    positive: Tensor
    candidates: Candidates
    temperature: Tensor | float | None
    comparison: Comparison
    hardest: Tensor | None = None

    def of_rows(self, values: Tensor) -> Tensor:
        """(B, ...) -> (R, ...)."""
        return values.repeat_interleave(len(self.query) // len(values), 0)

    def logits(self, cosine: Tensor) -> Tensor:
        t = self.temperature
        if t is None:
            return two_artanh(cosine)
        per_row = isinstance(t, Tensor) and t.ndim == 1 and cosine.ndim == 2
        return cosine / (t[:, None] if per_row else t)

    def logsumexp(self, power: float = 1.0) -> Tensor:
        scale = power / self.temperature
        lse, top = self.candidates.logsumexp(self.query, scale)
        self.hardest = top / (scale.detach() if isinstance(scale, Tensor) else scale)
        return lse

    def logit_sum(self) -> Tensor:
        return self.sum_of(self.logits)

    def sum_of(self, function, *row_tensors: Tensor) -> Tensor:
        candidates = self.candidates.gathered()

        def of_block(query: Tensor, keys: Tensor, columns: slice, *row_tensors) -> Tensor:
            cosine = query @ keys.T
            kept = candidates.keep(columns, cosine.detach())
            return function(cosine, *row_tensors).masked_fill(~kept, 0).sum(1)

        return tiled_row_sum(of_block, self.query, candidates.keys, *row_tensors)

    def with_candidates(self, candidates: Candidates) -> 'Scores':
        return replace(self, candidates=candidates, hardest=None)


class Mass(nn.Module):
    """All negatives count alike."""

    def forward(self, scores: Scores) -> Tensor:
        return scores.logsumexp()

    def learn(self, batch) -> None:
        pass


class Filter(nn.Module):
    """Which candidates are false negatives."""

    def __init__(self, treatment: str = 'elimination') -> None:
        super().__init__()
        if treatment not in ('elimination', 'attraction'):
            raise ValueError(
                f"{type(self).__name__}: treatment must be 'elimination' or 'attraction', got {treatment!r}"
            )
        self.treatment = treatment

    def rule(self, scores: Scores) -> Keep | None:
        raise NotImplementedError

    def observe(self, scores: Scores) -> None:
        pass

    def learn(self, keys, batch) -> None:
        pass


class Temperature(nn.Module):
    extra_channels = 0

    def __init__(self, value=1.0) -> None:
        super().__init__()
        self.schedule = Schedule.of(value, 'temperature')
        self.clock: Clock | None = None

    def forward(self, cosine, comparison, extra):
        return self.schedule(self.clock)

    def observe(self, scores: Scores) -> None:
        pass

    def learn(self, batch) -> None:
        pass
