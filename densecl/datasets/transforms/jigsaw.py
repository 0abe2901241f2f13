"""``JigsawPatches``: cuts one crop into a shuffled puzzle of small views."""

import numpy as np

from densecl.registry import TRANSFORMS
from densecl.structures import PretrainDataSample

from .drawn import DrawnView, fit_to_photo
from .permutations import far_permutations, read_permutations
from .photometric import Photometric
from .recipe import ViewRecipe
from .sample import checked_image, make_sample


@TRANSFORMS.register_module()
class JigsawPatches:
    """Views that are patches of one crop, in random order (Noroozi and Favaro, 2016; PIRL, Misra and van der
    Maaten, 2020, section 3.1; DetCo, Xie et al., 2021, section 3.3).

    A random crop is resized to ``resize`` x ``resize`` and divided into ``grid`` x ``grid`` cells. From each
    cell a patch is cut at a random place. The order of the patches is any random permutation, or one from a
    list. The number of a permutation in the list is the answer of every patch, for a head with
    ``target=dict(type='Known')``. Every patch has its own box and flip, as any view has.

    An entry of :class:`MultiView`'s ``views``; its views follow those of the entries before. It can also be
    used as a transform alone.

    Args:
        grid: number of cells along a side.
        resize: side of the resized crop in pixels; pixels beyond ``grid * cell`` at the right and at the
            bottom are not used.
        cell: side of a cell in pixels.
        patch: side of a patch in pixels; its offset is uniform over all places inside the cell.
            (The authors' code never draws the last of them: 0..20 of 0..21.)
        scale: lower and upper share of the image's area that the crop covers.
        ratio: lower and upper aspect ratio (width / height) of the crop.
        flip: probability of mirroring left to right.
        interpolation: ``bilinear`` or ``bicubic``.
        photometric: arguments of :class:`Photometric`, or None. It is applied to each patch: contrast uses
            the mean of the patch, and a blur ends at the patch's border.
        photometric_per_patch: draw the photometric parameters for each patch, as the authors' code does, and
            not once for the puzzle.
        flip_per_patch: flip each patch separately (the authors' code), and not the crop.
        permutations: None: any order. A number: use this many permutations that are far from each other,
            made here (:func:`.permutations.far_permutations`). A file of ``tools/make_permutations.py``: use
            its permutations; a row says which cell every patch shows.
        channel_shift: each channel of a patch is shifted separately, by at most this many pixels to the
            right and down. Colour fringes of a lens then do not reveal a cell's place (2 in the authors'
            code).
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
        permutations: int | str | None = None,
        channel_shift: int = 0,
        count: int = 1,
    ) -> None:
        if not 0 < patch <= cell:
            raise ValueError(f'JigsawPatches: patch must be in 1..cell ({cell}), got {patch}')
        if not 0 <= channel_shift <= cell - patch:
            raise ValueError(
                f'JigsawPatches: channel_shift must be in 0..cell - patch ({cell - patch}), '
                f'got {channel_shift}'
            )
        if not 0 < grid * cell <= resize:
            raise ValueError(
                f'JigsawPatches: grid * cell must be in 1..resize ({resize}), got {grid} * {cell}'
            )
        self.crop = ViewRecipe(count, resize, scale, ratio, flip, interpolation, photometric)
        self.grid, self.cell, self.patch = grid, cell, patch
        self.permutations, self.channel_shift = None, channel_shift
        if isinstance(permutations, int):
            self.permutations = far_permutations(grid**2, permutations)
        elif permutations is not None:
            self.permutations = read_permutations(permutations, grid**2)
        self.photometric_per_patch, self.flip_per_patch = photometric_per_patch, flip_per_patch
        self.flip = self.crop.flip
        if flip_per_patch:
            self.crop.flip = 0.0

    def __call__(self, results: dict) -> PretrainDataSample:
        """Turn a decoded image into a sample of ``count * grid * grid`` views.

        The data preprocessor applies the photometric parameters; within :class:`MultiView`, its
        ``photometric_on`` decides.

        Args:
            results: as for :class:`MultiView`.
        """
        image = checked_image(results, 'JigsawPatches')
        return make_sample(results, fit_to_photo(image, self.draw(image, results['rng'])))

    def check_images(self, channels: int, dtype: str | None) -> None:
        """See :meth:`ViewRecipe.check_images`."""
        self.crop.check_images(channels, dtype)

    def draw(self, image: np.ndarray, rng: np.random.Generator) -> list[DrawnView]:
        """The patches of an image (H, W, C)."""
        return [p for whole in self.crop.draw(image, rng) for p in self._cut(whole, image.shape[2], rng)]

    def _cut(self, whole: DrawnView, channels: int, rng: np.random.Generator) -> list[DrawnView]:
        if self.permutations is None:
            cells = rng.permutation(self.grid**2)
        else:
            answer = int(rng.integers(len(self.permutations)))
            whole, cells = whole._replace(answer=answer), self.permutations[answer].astype(int)
        room = self.cell - self.patch - self.channel_shift
        offsets = rng.integers(0, room + 1, (len(cells), 2)) + self.channel_shift // 2
        rows, columns = np.divmod(cells, self.grid)
        corners = np.stack([columns, rows], 1) * self.cell + offsets  # (P, 2), x and y
        return [self._patch(whole, x, y, channels, rng) for x, y in corners.tolist()]

    def _patch(self, whole: DrawnView, x: int, y: int, channels: int, rng: np.random.Generator) -> DrawnView:
        view = whole._replace(part=(x, y, x + self.patch, y + self.patch))
        if self.channel_shift:
            shifts = rng.integers(0, self.channel_shift + 1, (channels, 2)) - self.channel_shift // 2
            view = view._replace(channel_shifts=tuple(map(tuple, shifts.tolist())))
        if self.flip_per_patch and rng.random() < self.flip:
            view = view._replace(mirrored=True)
        if self.photometric_per_patch and self.crop.photometric:
            view = view._replace(photometric=self.crop.photometric.draw(rng))
        return view
