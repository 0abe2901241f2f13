"""The base class of targets that need the original colours: it undoes the images' normalisation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from densecl.numerics import full_precision


class PhotoTarget(nn.Module):
    """A target that reads 8-bit RGB. The pretrainer sets the images' normalisation, by default none."""

    def __init__(self) -> None:
        super().__init__()
        for name, value in (('mean', 0.0), ('std', 1.0)):
            self.register_buffer(f'image_{name}', torch.full((3, 1, 1), value), persistent=False)

    def images_have(self, mean: Tensor | Sequence[float], std: Tensor | Sequence[float]) -> None:
        """Set how the images are normalised: mean and std of R, G and B on the scale 0..255."""
        for name, values in (('image_mean', mean), ('image_std', std)):
            values = torch.as_tensor(values).flatten()
            if len(values) != 3:
                raise ValueError(
                    f'{type(self).__name__} reads 3 channels, data_preprocessor.mean has {len(values)}: take '
                    'images in RGB, or another target'
                )
            getattr(self, name).copy_(values.view(3, 1, 1))

    def pixels(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> pixels on the scale 0..255, in float32 or better."""
        return full_precision(images) * self.image_std + self.image_mean
