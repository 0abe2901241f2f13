"""``MultiView``: one image becomes several randomly cropped, flipped and recoloured views."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from densecl.registry import TRANSFORMS
from densecl.structures import PhotometricParams, PretrainDataSample

from .crop import INTERPOLATIONS, resize_crop, sample_crop
from .photometric import Photometric
from .photometric_uint8 import apply_photometric_uint8


@dataclass
class ViewRecipe:
    """How ``count`` views of an image are made.

    Attributes:
        count: number of views with this recipe.
        size: side, or height and width, of the view in pixels.
        scale: lower and upper share of the image's area that a crop covers.
        ratio: lower and upper aspect ratio (width / height) of a crop.
        flip: probability of mirroring left to right.
        interpolation: ``bilinear`` or ``bicubic``, both antialiased.
        photometric: arguments of :class:`Photometric`, or None for no such augmentation.
    """

    count: int = 1
    size: int | tuple[int, int] = 224
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    interpolation: str = 'bilinear'
    photometric: Photometric | None = None

    def __post_init__(self) -> None:
        self.size = (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)
        if isinstance(self.photometric, dict):
            self.photometric = _build(Photometric, self.photometric, 'photometric')
        self._require(isinstance(self.count, int) and self.count > 0, 'count', 'a positive int')
        self._require(
            len(self.size) == 2 and min(self.size) > 0, 'size', 'a side or (height, width), above 0'
        )
        self._require(0 < self.scale[0] <= self.scale[1] <= 1, 'scale', '0 < low <= high <= 1')
        self._require(0 < self.ratio[0] <= self.ratio[1], 'ratio', '0 < low <= high')
        self._require(0 <= self.flip <= 1, 'flip', 'a probability')
        self._require(self.interpolation in INTERPOLATIONS, 'interpolation', f'in {INTERPOLATIONS}')

    def _require(self, valid: bool, name: str, expected: str) -> None:
        if not valid:
            got = getattr(self, name)
            raise ValueError(f'view recipe: {name} must be {expected}, got {got!r}')


def _build(cls, arguments: dict, name: str):
    """``cls(**arguments)``, with an error that lists the keys there are."""
    known = [field.name for field in fields(cls)]
    unknown = [key for key in arguments if key not in known]
    if unknown:
        raise ValueError(f'{name}: unknown key {unknown[0]!r}; known keys are {", ".join(known)}')
    return cls(**arguments)


@TRANSFORMS.register_module()
class MultiView:
    """Make the views of an image: random resized crop, flip and photometric augmentation.

    All random numbers come from ``results['rng']``, in an order that depends on the recipes alone.

    Args:
        views: recipes, see :class:`ViewRecipe`; one for all views, one each for asymmetric pairs,
            or several with their counts for multi-crop.
        photometric_on: ``device`` leaves the drawn parameters in the sample for the data
            preprocessor; ``worker`` applies the same parameters here.
    """

    def __init__(self, views: list[dict], photometric_on: str = 'device') -> None:
        if photometric_on not in ('device', 'worker'):
            raise ValueError(f"photometric_on must be 'device' or 'worker', got {photometric_on!r}")
        if not views:
            raise ValueError('views must name at least one recipe, got none')
        recipes = [_build(ViewRecipe, view, f'views[{i}]') for i, view in enumerate(views)]
        self.recipes = [recipe for recipe in recipes for _ in range(recipe.count)]
        self.photometric_on = photometric_on

    def __call__(self, results: dict) -> PretrainDataSample:
        """Turn a decoded image into a sample.

        Args:
            results: ``image`` (uint8 (H, W, 3) RGB array) and ``rng`` (numpy ``Generator``) are
                needed; ``index``, ``path``, ``label`` and ``source_size`` (height and width of the
                original, where the decoder has reduced it) are used where present.

        Returns:
            The sample; its boxes are in pixels of the original.
        """
        image, rng = _checked_image(results), results['rng']
        made = [self._view(image, rng, recipe) for recipe in self.recipes]
        images, boxes, flipped, photometric = zip(*made, strict=True)
        source_size = tuple(results.get('source_size', image.shape[:2]))
        return PretrainDataSample(
            images=list(images),
            boxes=_to_source(boxes, image.shape, source_size),
            flipped=torch.tensor(flipped),
            source_size=source_size,
            index=results.get('index', -1),
            path=results.get('path', ''),
            photometric=list(photometric),
            label=results.get('label'),
        )

    def _view(
        self, image: np.ndarray, rng: np.random.Generator, recipe: ViewRecipe
    ) -> tuple[Tensor, tuple[int, int, int, int], bool, PhotometricParams | None]:
        box = sample_crop(rng, *image.shape[:2], recipe.scale, recipe.ratio)
        flipped = rng.random() < recipe.flip
        params = recipe.photometric.draw(rng) if recipe.photometric else None
        view = resize_crop(image, box, recipe.size, recipe.interpolation, flipped)
        if params is not None and self.photometric_on == 'worker':
            view, params = apply_photometric_uint8(view, params), None
        return torch.from_numpy(view), box, flipped, params

    def __repr__(self) -> str:
        return f'MultiView(recipes={self.recipes}, photometric_on={self.photometric_on!r})'


def _checked_image(results: dict) -> np.ndarray:
    image = results['image']
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3):
        got = f'{getattr(image, "dtype", type(image).__name__)} {getattr(image, "shape", "")}'
    elif image.shape[2] != 3 or image.size == 0:
        got = f'shape {image.shape}'
    else:
        return image
    raise ValueError(
        f"MultiView needs results['image'] as a non-empty uint8 (H, W, 3) RGB array, got {got} "
        f'for {results.get("path", "an image without path")!r}; decode it to 8-bit RGB first'
    )


def _to_source(
    boxes: tuple[tuple[int, int, int, int], ...],
    shape: tuple[int, ...],
    source_size: tuple[int, int],
) -> Tensor:
    """Boxes of the decoded image in pixels of the original, (V, 4)."""
    scale_y, scale_x = source_size[0] / shape[0], source_size[1] / shape[1]
    return torch.tensor(boxes, dtype=torch.float32) * torch.tensor([scale_x, scale_y] * 2)
