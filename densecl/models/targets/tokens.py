"""Numbers of visual words: k-means of the features of a network that is trained already."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.numerics import full_precision, no_autocast, unit
from densecl.registry import MODELS


@MODELS.register_module()
class KMeansTokens(nn.Module):
    """(B, 3, H, W) images -> one level (B, 1, H / p, W / p): which of K centres is nearest, from 0.

    It stands where BEiT (Bao et al., ICLR 2022) has the codes of a discrete autoencoder. The features of a
    frozen network, minus their mean, made unit vectors, are what the centres are of. The image is resized so
    that a cell of the features is a patch.

    ``tools/make_tokens.py CONFIG`` makes the file. A training reads it when it begins or goes on, see
    :meth:`init_weights`; checkpoints hold all of it.

    Args:
        backbone: module config of the frozen network.
        channels: of its level.
        codes: K.
        patch: side p of a patch of the image in pixels.
        stride: of the level, in pixels of the image that the network gets.
        file: what the tool writes.
        level: of the network.
    """

    def __init__(
        self, backbone: dict, channels: int, codes: int, patch: int, stride: int, file: str, level: int = -1
    ) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.patch, self.stride, self.file, self.level = patch, stride, file, level
        self.register_buffer('offset', torch.zeros(channels))
        self.register_buffer('centres', torch.zeros(codes, channels))
        # From images as they come to images as the network wants them; without a word the same.
        for name, value in (('mean', 0.0), ('std', 1.0)):
            self.register_buffer(name, torch.full((3, 1, 1), value))
            self.register_buffer(f'image_{name}', torch.full((3, 1, 1), value), persistent=False)

    def images_have(self, mean: Tensor | Sequence[float], std: Tensor | Sequence[float]) -> None:
        """Tell how the images are normalised that it will get: mean and std of R, G and B, 0 to 255."""
        for name, values in (('image_mean', mean), ('image_std', std)):
            values = torch.as_tensor(values).flatten()
            if len(values) != 3:
                raise ValueError(
                    f'KMeansTokens reads 3 channels, data_preprocessor.mean has {len(values)}: take '
                    'images in RGB, or another target'
                )
            getattr(self, name).copy_(values.view(3, 1, 1))

    def init_weights(self) -> None:
        """Read the file.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is of another network, or has another number of codes.
        """
        if not Path(self.file).is_file():
            raise FileNotFoundError(
                f'KMeansTokens: {self.file} does not exist; make it: python tools/make_tokens.py CONFIG '
                '--start WEIGHTS'
            )
        state = torch.load(self.file, map_location='cpu', weights_only=True)['state_dict']
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(
                f'KMeansTokens: {self.file} was made for another backbone or number of codes than '
                f'model.heads says ({str(error).splitlines()[1].strip()}); make it again with this config'
            ) from None

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H / p, W / p) float32 or better, as the network gives them."""
        pixels = full_precision(images) * self.image_std + self.image_mean
        pixels = (pixels - self.mean) / self.std
        grid = [side // self.patch for side in images.shape[2:]]
        size = [cells * self.stride for cells in grid]
        if size != list(images.shape[2:]):
            pixels = F.interpolate(pixels, size, mode='bilinear', align_corners=False, antialias=True)
        levels = self.backbone(pixels)
        found = levels if isinstance(levels, Tensor) else levels[self.level]
        if found.shape[1:] != (len(self.offset), *grid):
            raise ValueError(
                f'KMeansTokens: level {self.level} is {tuple(found.shape[1:])}, not {len(self.offset)} '
                f'channels of {grid[0]} x {grid[1]} cells; set channels, stride, level or out_indices of its '
                'backbone'
            )
        return full_precision(found)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        rows = self.features(images).permute(0, 2, 3, 1) - self.offset
        return (nearest(unit(rows), self.centres)[:, None].to(rows.dtype),)


@no_autocast
def nearest(rows: Tensor, centres: Tensor) -> Tensor:
    """(..., C) and (K, C) -> (...) int64, the centre at the smallest distance."""
    centres = centres.to(rows.dtype)
    return (rows @ centres.T - centres.square().sum(1) / 2).argmax(-1)
