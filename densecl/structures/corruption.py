"""``Corruption``: the random choice of what replaces the masked pixels of a view."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Corruption:
    """What replaces the masked pixels of a view; they become 0 unless one of these fields says otherwise.

    The fields are NumPy arrays, not tensors: they stay on the CPU, so reading them never waits for the
    device. In a batch every array has a first dimension B.

    Attributes:
        donor: () float64 in [0, 1), the position of the donor image as a share of the batch. Its pixels at
            the same place are copied. The donor may be the image itself. Below 0: no donor.
        noise_seed: () int64, seed of the normal noise that is put in, in units of normalised pixels. Below 0:
            no noise.
        gray: () bool, whether the pixels become grey, with their own lightness.
    """

    donor: np.ndarray
    noise_seed: np.ndarray
    gray: np.ndarray

    @classmethod
    def of(cls, donor: float = -1.0, noise_seed: int = -1, gray: bool = False) -> 'Corruption':
        """The corruption of one view."""
        return cls(np.array(donor, np.float64), np.array(noise_seed, np.int64), np.array(gray))

    def donors(self) -> tuple[np.ndarray, np.ndarray]:
        """For a batch: (B,) int64, the position of each donor, and (B,) bool, which images have a donor."""
        given = self.donor >= 0
        return np.where(given, self.donor * len(given), 0).astype(np.int64), given
