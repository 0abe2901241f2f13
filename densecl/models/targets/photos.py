"""What every target that looks at photos in their own colours needs: to undo their normalisation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from densecl.numerics import full_precision


class PhotoTarget(nn.Module):
    """A target of 8-bit RGB; the pretrainer tells how images are normalised; by default they are not."""

    def __init__(self) -> None:
        super().__init__()
        for name, value in (('mean', 0.0), ('std', 1.0)):
            self.register_buffer(f'image_{name}', torch.full((3, 1, 1), value), persistent=False)

    def images_have(self, mean: Tensor | Sequence[float], std: Tensor | Sequence[float]) -> None:
        """Tell how the images are normalised that it will get: mean and std of R, G and B, 0 to 255."""
        for name, values in (('image_mean', mean), ('image_std', std)):
            values = torch.as_tensor(values).flatten()
            if len(values) != 3:
                raise ValueError(
                    f'{type(self).__name__} reads 3 channels, data_preprocessor.mean has {len(values)}: take '
                    'images in RGB, or another target'
                )
            getattr(self, name).copy_(values.view(3, 1, 1))

    def pixels(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) as normalised -> the same on the scale 0..255, in float32 or better."""
        return full_precision(images) * self.image_std + self.image_mean
