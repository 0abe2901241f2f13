"""``JigsawPatches``: one crop becomes a shuffled puzzle of small views."""

import numpy as np

from densecl.registry import TRANSFORMS
from densecl.structures import PretrainDataSample

from .drawn import DrawnView, fit_to_photo
from .photometric import Photometric
from .recipe import ViewRecipe
from .sample import checked_image, make_sample


@TRANSFORMS.register_module()
class JigsawPatches:
    """Views that are patches of one crop, in random order (PIRL, Misra and van der Maaten, 2020,
    section 3.1; DetCo, Xie et al., 2021, section 3.3).

    A random crop is resized to ``resize`` x ``resize`` and divided into ``grid`` x ``grid`` cells;
    from each a patch is cut at a random place, and the patches come in a free random permutation.
    Every patch has its own box and flip, as any view has.

    An entry of :class:`MultiView`'s ``views``, behind those before it; also a transform by itself.

    Args:
        grid: cells along a side.
        resize: side of the resized crop in pixels; what ``grid * cell`` leaves over at the right
            and at the bottom is not used.
        cell: side of a cell in pixels.
        patch: side of a patch in pixels; its offset is uniform over all places inside the cell.
            (The authors' code never draws the last of them: 0..20 of 0..21.)
        scale: lower and upper share of the image's area that the crop covers.
        ratio: lower and upper aspect ratio (width / height) of the crop.
        flip: probability of mirroring left to right.
        interpolation: ``bilinear`` or ``bicubic``.
        photometric: arguments of :class:`Photometric`, or None. It is applied patch by patch: the
            contrast turns around the mean of a patch, and a blur ends at its border.
        photometric_per_patch: draw the photometric parameters for each patch, as the authors' code
            does, rather than once for the puzzle.
        flip_per_patch: mirror each patch by itself (the authors' code) rather than the crop.
        count: number of puzzles.
    """

    takes_photo = True

    def __init__(
        self,
        grid: int = 3,
        resize: int = 255,
        cell: int = 85,
        patch: int = 64,
        scale: tuple[float, float] = (0.6, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        interpolation: str = 'bilinear',
        photometric: dict | Photometric | None = None,
        photometric_per_patch: bool = False,
        flip_per_patch: bool = False,
        count: int = 1,
    ) -> None:
        if not 0 < patch <= cell:
            raise ValueError(f'JigsawPatches: patch must be in 1..cell ({cell}), got {patch}')
        if not 0 < grid * cell <= resize:
            raise ValueError(
                f'JigsawPatches: grid * cell must be in 1..resize ({resize}), got {grid} * {cell}'
            )
        self.crop = ViewRecipe(count, resize, scale, ratio, flip, interpolation, photometric)
        self.grid, self.cell, self.patch = grid, cell, patch
        self.photometric_per_patch, self.flip_per_patch = photometric_per_patch, flip_per_patch
        self.flip = self.crop.flip
        if flip_per_patch:
            self.crop.flip = 0.0

    def __call__(self, results: dict) -> PretrainDataSample:
        """Turn a decoded image into a sample of ``count * grid * grid`` views.

        Photometric parameters are left to the data preprocessor; within :class:`MultiView`, its
        ``photometric_on`` decides.

        Args:
            results: as for :class:`MultiView`.
        """
        image = checked_image(results, 'JigsawPatches')
        return make_sample(results, fit_to_photo(image, self.draw(image, results['rng'])))

    def check_images(self, channels: int, dtype: str | None) -> None:
        """As of :class:`ViewRecipe`."""
        self.crop.check_images(channels, dtype)

    def draw(self, image: np.ndarray, rng: np.random.Generator) -> list[DrawnView]:
        """The patches of an image (H, W, C)."""
        return [p for whole in self.crop.draw(image, rng) for p in self._cut(whole, rng)]

    def _cut(self, whole: DrawnView, rng: np.random.Generator) -> list[DrawnView]:
        cells = rng.permutation(self.grid**2)
        offsets = rng.integers(0, self.cell - self.patch + 1, (len(cells), 2))
        rows, columns = np.divmod(cells, self.grid)
        corners = np.stack([columns, rows], 1) * self.cell + offsets  # (P, 2), x and y
        return [self._patch(whole, x, y, rng) for x, y in corners.tolist()]

    def _patch(self, whole: DrawnView, x: int, y: int, rng: np.random.Generator) -> DrawnView:
        view = whole._replace(part=(x, y, x + self.patch, y + self.patch))
        if self.flip_per_patch and rng.random() < self.flip:
            view = view._replace(mirrored=True)
        if self.photometric_per_patch and self.crop.photometric:
            view = view._replace(photometric=self.crop.photometric.draw(rng))
        return view
