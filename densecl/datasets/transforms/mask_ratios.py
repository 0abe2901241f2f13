"""Masked shares that differ between views: the ``ratio`` of a :class:`CountedMask`."""

from dataclasses import dataclass

import numpy as np

from densecl.registry import TRANSFORMS

from .masks import batch_counts, chosen_ratio


@TRANSFORMS.register_module()
@dataclass
class RatioChoice:
    """One of several shares for each view (iBOT), see :func:`densecl.datasets.transforms.masks.chosen_ratio`.

    Attributes:
        ratios: shares, of which one is chosen.
        spreads: half the width of the uniform distribution around each.
    """

    ratios: tuple[float, ...] = (0.0, 0.3)
    spreads: tuple[float, ...] = (0.0, 0.2)

    def __post_init__(self) -> None:
        self.ratios, self.spreads = tuple(self.ratios), tuple(self.spreads)
        pairs = zip(self.ratios, self.spreads, strict=False)
        alike = len(self.ratios) == len(self.spreads) > 0
        if not alike or not all(0 <= spread <= ratio <= 1 - spread for ratio, spread in pairs):
            raise ValueError(
                'RatioChoice: spreads must have for each of ratios one number that keeps it in [0, 1], got '
                f'ratios={self.ratios} and spreads={self.spreads}'
            )

    def draw(self, rng: np.random.Generator) -> float:
        """The masked share of one view."""
        return chosen_ratio(self.ratios, self.spreads, rng)


@TRANSFORMS.register_module()
@dataclass
class BatchRatios:
    """The same spread of shares in every batch (DINOv2, DINOv3, Franca), see
    :func:`densecl.datasets.transforms.masks.batch_counts`. The masks are drawn when the batch is collated.

    Attributes:
        ratio: lower and upper masked share; up to 0.65 in Franca.
        share: share of the views that are masked.
        in_bin: ``uniform`` (DINOv2), or ``upper`` (DINOv3, with ``BlockMask(exact=True)``).
    """

    ratio: tuple[float, float] = (0.1, 0.5)
    share: float = 0.5
    in_bin: str = 'uniform'

    def __post_init__(self) -> None:
        self.ratio = tuple(self.ratio)
        self.counts(1, 1, np.random.default_rng(0))  # refuses impossible settings

    def counts(self, patches: int, views: int, rng: np.random.Generator) -> np.ndarray:
        """Number of masked patches of each view of a batch, (views,) int64."""
        return batch_counts(patches, views, rng, self.ratio, self.share, self.in_bin)
