"""Views without randomness: ``CentreCrop``, as in evaluations, and ``WholeImage``."""

import numpy as np

from densecl.registry import TRANSFORMS
from densecl.structures import PretrainDataSample

from .drawn import Crop, DrawnView
from .sample import checked_image, make_sample


@TRANSFORMS.register_module()
class CentreCrop:
    """One square view of the image's centre, without randomness.

    The result is that of resizing the short side to ``size / share`` and then cutting out the centre, but in
    one step. An entry of :class:`MultiView`'s ``views``, or a transform alone.

    Args:
        size: side of the view in pixels.
        share: share of the short side that the view shows; 224 / 256 is usual.
        interpolation: ``bilinear`` or ``bicubic``.
    """

    def __init__(self, size: int = 224, share: float = 0.875, interpolation: str = 'bilinear') -> None:
        if size < 1 or not 0 < share <= 1:
            raise ValueError(f'CentreCrop: size must be above 0 and share in (0, 1], got {size} and {share}')
        self.size, self.share, self.interpolation = size, share, interpolation

    def __call__(self, results: dict) -> PretrainDataSample:
        """Turn a decoded image into a sample of one view; ``rng`` is not needed."""
        return make_sample(results, self.draw(checked_image(results, 'CentreCrop')))

    def draw(self, image: np.ndarray, rng: np.random.Generator | None = None) -> list[DrawnView]:
        """The view of an image (H, W, C)."""
        height, width = image.shape[:2]
        side = max(1, round(self.share * min(height, width)))
        x, y = (width - side) // 2, (height - side) // 2
        box = x, y, x + side, y + side
        return [DrawnView(Crop(box, (self.size, self.size), interpolation=self.interpolation))]


@TRANSFORMS.register_module()
class WholeImage:
    """One square view of the whole image, without keeping its aspect ratio.

    An entry of :class:`MultiView`'s ``views``, or a transform alone.

    Args:
        size: side of the view in pixels.
        interpolation: ``bilinear`` or ``bicubic``.
    """

    def __init__(self, size: int, interpolation: str = 'bilinear') -> None:
        if size < 1:
            raise ValueError(f'WholeImage: size must be above 0, got {size}')
        self.size, self.interpolation = size, interpolation

    def __call__(self, results: dict) -> PretrainDataSample:
        """Turn a decoded image into a sample of one view; ``rng`` is not needed."""
        return make_sample(results, self.draw(checked_image(results, 'WholeImage')))

    def draw(self, image: np.ndarray, rng: np.random.Generator | None = None) -> list[DrawnView]:
        """The view of an image (H, W, C)."""
        box = (0, 0, image.shape[1], image.shape[0])
        return [DrawnView(Crop(box, (self.size, self.size), interpolation=self.interpolation))]
