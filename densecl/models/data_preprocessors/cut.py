"""Patches that are cut out of views on the device."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from densecl.registry import MODELS
from densecl.structures import Views, view_to_image

from .pretrain import PretrainDataPreprocessor


@MODELS.register_module()
class CutPatches(PretrainDataPreprocessor):
    """Append the patches of some views, in random order, as further views.

    The cheaper form of ``JigsawPatches``: data workers make the views alone, and patches show what a view
    shows, recoloured as it is. Order and places are drawn once a batch and view, the same for all images, as
    in the only public (third-party) code of DetCo; from torch's CPU generator, whose state a resumed run
    repeats. A patch has its own box and its view's flip, as any view has.

    Args:
        cut: the views, whose patches are appended in this order.
        grid: cells along a side; it must divide the view's.
        patch: side of the square cut out of a cell at a random place; None takes the whole cell.
        **kwargs: see :class:`PretrainDataPreprocessor`.
    """

    def __init__(
        self, *, cut: Sequence[int] = (0, 1), grid: int = 3, patch: int | None = None, **kwargs
    ) -> None:
        super().__init__(**kwargs)
        self.cut, self.grid, self.patch = tuple(cut), grid, patch

    @torch.no_grad()
    def forward(self, data: dict, training: bool = False) -> dict:
        """See :class:`PretrainDataPreprocessor`."""
        data = super().forward(data, training)
        views: Views = data['inputs']
        for view in self.cut:
            views = self._appended(views, view)
        return {**data, 'inputs': views}

    def _appended(self, views: Views, view: int) -> Views:
        image = views.images[view]
        size = tuple(image.shape[2:])
        squares = self._squares(view, size)
        corners = torch.tensor(squares, dtype=torch.float32, device=image.device).view(1, -1, 2)
        corners = corners.expand(len(image), -1, -1)
        ends = view_to_image(corners, views.boxes[view], views.flipped[view], size).unflatten(1, (-1, 2))
        boxes = torch.cat([ends.amin(2), ends.amax(2)], -1)  # a mirrored view swaps x
        count = len(squares)
        return replace(
            views,
            images=views.images + [image[:, :, y1:y2, x1:x2] for x1, y1, x2, y2 in squares],
            boxes=views.boxes + list(boxes.unbind(1)),
            flipped=views.flipped + [views.flipped[view]] * count,
            photometric=views.photometric + [None] * count,
            proposals=None if views.proposals is None else views.proposals + [None] * count,
        )

    def _squares(self, view: int, size: tuple[int, int]) -> list[list[int]]:
        """x1, y1, x2, y2 of each patch in view pixels, shuffled."""
        grid = self.grid
        if size[0] % grid or size[1] % grid:
            raise ValueError(
                f'CutPatches: grid={grid} must divide the sides of view {view}, which is {size[1]} x '
                f'{size[0]} px; give it a multiple of {grid}'
            )
        height, width = size[0] // grid, size[1] // grid
        if self.patch is not None and not 0 < self.patch <= min(height, width):
            raise ValueError(
                f'CutPatches: patch must be in 1..{min(height, width)}, the side of a cell of view {view}, '
                f'got {self.patch}'
            )
        high, wide = (height, width) if self.patch is None else (self.patch, self.patch)
        squares = []
        for cell in torch.randperm(grid**2).tolist():
            y = cell // grid * height + _random(height - high)
            x = cell % grid * width + _random(width - wide)
            squares.append([x, y, x + wide, y + high])
        return squares


def _random(most: int) -> int:
    """Uniform in 0..most."""
    return int(torch.randint(most + 1, ()))
