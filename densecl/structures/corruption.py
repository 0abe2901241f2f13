"""``Corruption``: what was drawn to stand in the place of a view's pixels."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Corruption:
    """What replaces the pixels that the mask of a view marks: 0 unless one of these says else.

    It is no tensor: it stays on the CPU, where reading it waits for nothing. Of a batch, every array has B in
    front.

    Attributes:
        donor: () float64, in [0, 1): how far along the batch the image stands whose pixels of the same place
            are put in; it may be the image itself. Below 0: none.
        noise_seed: () int64, of the generator of normal noise, in units of normalised pixels; below 0: none.
        gray: () bool, put in the grey of the image's own lightness.
    """

    donor: np.ndarray
    noise_seed: np.ndarray
    gray: np.ndarray

    @classmethod
    def of(cls, donor: float = -1.0, noise_seed: int = -1, gray: bool = False) -> 'Corruption':
        """That of one view."""
        return cls(np.array(donor, np.float64), np.array(noise_seed, np.int64), np.array(gray))

    def donors(self) -> tuple[np.ndarray, np.ndarray]:
        """Of a batch (B,) int64, the positions of the donors, and (B,) bool, which images have one."""
        given = self.donor >= 0
        return np.where(given, self.donor * len(given), 0).astype(np.int64), given
