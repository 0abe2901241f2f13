"""A frozen network that reads the pretrainer's images: its features are targets, or are turned into codes."""

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.compat import load_checkpoint
from densecl.models.matching.overlap import sample_overlap
from densecl.numerics import full_precision
from densecl.registry import MODELS
from densecl.structures import Views, cell_centers, image_to_view

from .photos import PhotoTarget


class FrozenNetwork(PhotoTarget):
    """(B, 3, H, W) images -> the features of a trained network, one cell for each patch.

    The images get the network's own normalisation. They are resized so that each cell of the features
    corresponds to one patch.

    ``tools/make_tokens.py CONFIG`` makes the file; with ``start`` no file is needed. A training reads it when
    it starts or resumes, see :meth:`init_weights`. Checkpoints contain the network.

    Args:
        backbone: module config of the frozen network.
        channels: number of channels of its level.
        patch: side p of a patch of the image in pixels.
        stride: stride of the level, in pixels of the image that the network gets.
        file: the file that the tool wrote.
        level: which level of the network is used.
        start: in place of ``file``, weights that :func:`densecl.transfer.find_start` can find. The training
            loads them.
    """

    maps: str | None = None

    def __init__(
        self,
        backbone: dict | nn.Module,
        channels: int,
        patch: int,
        stride: int,
        file: str | None = None,
        level: int = -1,
        start: str | None = None,
    ) -> None:
        super().__init__()
        if (file is None) == (start is None):
            raise ValueError(f'{type(self).__name__} needs file or start, not both: got {file!r}, {start!r}')
        self.backbone = MODELS.build(backbone) if isinstance(backbone, dict) else backbone
        self.channels, self.patch, self.stride, self.file, self.level = channels, patch, stride, file, level
        self.start = start
        # The network's normalisation, of pixels on the scale 0..255; by default none.
        for name, value in (('mean', 0.0), ('std', 1.0)):
            self.register_buffer(name, torch.full((3, 1, 1), value))

    def init_weights(self) -> None:
        """Read the file. The weights of ``start`` are read by :class:`densecl.transfer.TeacherHook`.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file was made for another network or number of codes.
        """
        name = type(self).__name__
        if self.start is not None:
            return
        if not Path(self.file).is_file():
            raise FileNotFoundError(
                f'{name}: {self.file} does not exist; make it: python tools/make_tokens.py CONFIG '
                '--start WEIGHTS'
            )
        state = load_checkpoint(self.file)['state_dict']
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(
                f'{name}: {self.file} was made for another backbone or number of codes than '
                f'model.heads says ({str(error).splitlines()[1].strip()}); make it again with this config'
            ) from None

    def features(self, images: Tensor) -> Tensor:
        """The network's features, (B, 3, H, W) -> (B, C, H / p, W / p), in float32 or better."""
        pixels = (self.pixels(images) - self.mean) / self.std
        grid = [side // self.patch for side in images.shape[2:]]
        size = [cells * self.stride for cells in grid]
        if size != list(images.shape[2:]):
            pixels = F.interpolate(pixels, size, mode='bilinear', align_corners=False, antialias=True)
        levels = self.backbone(pixels)
        found = levels if isinstance(levels, Tensor) else levels[self.level]
        if found.shape[1:] != (self.channels, *grid):
            raise ValueError(
                f'{type(self).__name__}: level {self.level} is {tuple(found.shape[1:])}, not {self.channels} '
                f'channels of {grid[0]} x {grid[1]} cells; set channels, stride, level or out_indices of its '
                'backbone'
            )
        return full_precision(found)


@MODELS.register_module()
class TeacherFeatures(FrozenNetwork):
    """(B, 3, H, W) images -> one level (B, C, H / p, W / p), the features of a trained network.

    The teacher of VQ-KD (BEiT v2, Peng et al., 2022), and of distillation. The other arguments are those of
    :class:`FrozenNetwork`.

    Args:
        maps: a folder made by ``tools/make_maps.py``. The features are read from there, not computed: a view
            gets those of the place that it shows. They do not depend on the view's colours, blur and size. A
            step then takes no time for the teacher.
    """

    def __init__(self, backbone: dict, *args, maps: str | None = None, **kwargs) -> None:
        # What is read from files needs no network, neither here nor in checkpoints.
        super().__init__(backbone if maps is None else nn.Identity(), *args, **kwargs)
        self.maps = maps

    def seen(self, views: Views) -> Views:
        """The views; with ``maps``, features (B, C, H / p, W / p) of what they show replace the images."""
        if self.maps is None:
            return views
        if self.maps not in views.maps:
            raise ValueError(
                f'{type(self).__name__}: the batch has no maps of {self.maps!r}; give them to the data set, '
                f'train_dataloader.dataset.maps=[{self.maps!r}]'
            )
        maps = views.maps[self.maps]
        if maps.shape[1] != self.channels:
            raise ValueError(
                f'{type(self).__name__}: maps of {self.maps} have {maps.shape[1]} channels, '
                f'not {self.channels}'
            )
        shown = [self._shown(maps, views, view) for view in range(len(views))]
        return replace(views, images=shown)

    def _shown(self, maps: Tensor, views: Views, view: int) -> Tensor:
        """Read a view's cells from maps of whole images; each cell is the mean of 2 x 2 places."""
        height, width = (side // self.patch for side in views.images[view].shape[2:])
        if view in views.generated:
            raise ValueError(
                f'{type(self).__name__}: view {view} is cut from a generated image, of which maps of the '
                'photo know nothing; leave maps out'
            )
        flipped, warp = views.flipped[view], views.warp(view)
        frames = F.pad(views.source_sizes.flip(1), (2, 0))  # 0, 0, width, height
        fine = (2 * height, 2 * width)
        if warp is not None:  # a place outside of the photo gets the nearest value inside
            centers = cell_centers(views.boxes[view], flipped, fine, warp)
            places = image_to_view(centers, frames, torch.zeros_like(flipped), (2, 2)) - 1
            maps = full_precision(maps)
            places = places.unflatten(1, fine).to(maps.dtype)
            read = F.grid_sample(maps, places, 'bilinear', padding_mode='border', align_corners=False)
            return F.avg_pool2d(read, 2)
        read = sample_overlap(maps, frames, torch.zeros_like(flipped), views.boxes[view], fine)
        read = F.avg_pool2d(read, 2)
        return torch.where(flipped[:, None, None, None], read.flip(3), read)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.features(images) if self.maps is None else images,)
