"""The answers of a salient cell are the similar salient cells of the other view (SetSim)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.numerics import cosines, full_precision
from densecl.registry import MODELS
from densecl.structures import Match

from .by_location import ByLocation
from .nearest import most_similar
from .rule import Rule, among_valid


def attention(features: Tensor) -> Tensor:
    """How strongly each cell responds, (B, N, C) -> (B, N): 0 for the weakest cell, 1 for the strongest.

    It is the mean of the squared channels, scaled to [0, 1] in each image (SetSim, Wang et al., 2022). If all
    cells of an image are equal, it is 0.
    """
    energy = full_precision(features).square().mean(2)
    low, high = energy.amin(1, keepdim=True), energy.amax(1, keepdim=True)
    return (energy - low) / (high - low).clamp(min=torch.finfo(energy.dtype).tiny)


@MODELS.register_module()
class SetSimilarity(Rule):
    """Salient cells with similar features match, and so do cells that are close in the image (SetSim, Wang et
    al., 2022).

    Args:
        attention: smallest attention of both cells; None: this part is not used.
        similarity: smallest cosine of their features.
        location: threshold of :func:`~densecl.models.matching.match_by_location`, in the image scaled to
            1 x 1; None: this part is not used.
        nearest: a cell with an answer also gets its most similar key cell as an answer.
    """

    def __init__(
        self,
        attention: float | None = 0.7,
        similarity: float = 0.2,
        location: float | None = 0.5,
        nearest: bool = False,
    ) -> None:
        super().__init__()
        if attention is None and location is None:
            raise ValueError('SetSimilarity: attention and location are both None, so nothing would match')
        self.attention, self.similarity = attention, similarity
        self.near, self.nearest = None if location is None else ByLocation(location), nearest
        self.needs = frozenset({'features'} | ({'grid', 'place'} if location is not None else set()))

    def forward(self, query, key, batch):
        features = query.features, key.features
        found = False if self.near is None else self.near(query, key, batch).mask
        if self.attention is not None:
            salient, answering = (attention(x) >= self.attention for x in features)
            alike = cosines(*features) >= self.similarity
            found = salient[:, :, None] & answering[:, None] & alike | found
        found = among_valid(found, query, key)
        if self.nearest:
            best = most_similar(*features, key.valid)
            found |= F.one_hot(best, key.features.shape[1]).bool() & found.any(-1, keepdim=True)
        return Match(mask=found)
