"""The data preprocessor of pretraining."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from densecl.registry import MODELS
from densecl.structures import PhotometricParams, Views

from .photometric import apply_photometric


@MODELS.register_module()
class PretrainDataPreprocessor(BaseDataPreprocessor):
    """Move a batch of views to the device, augment and normalise it there.

    Args:
        mean: RGB, on the scale 0..255; ImageNet's by default.
        std: RGB, on the scale 0..255.
        channels_last: memory format of the images it returns.
        non_blocking: do not wait for copies from page-locked memory.
    """

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        channels_last: bool = True,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(non_blocking)
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f'mean and std need three values, std above 0; got {mean} and {std}')
        mean, std = torch.tensor(mean), torch.tensor(std)
        self.register_buffer('scale', (1 / std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('shift', (-mean / std).view(1, 3, 1, 1), persistent=False)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format

    @torch.no_grad()
    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch: ``inputs`` is a :class:`Views` with uint8 images (B, Hv, Wv, 3); other keys stay.

        The images become float32 (B, 3, Hv, Wv) on the device, normalised, and 0 where views have cutouts.
        ``training`` is unused: the augmentation is done whenever a view has parameters left to apply.
        """
        views = _checked(data).to(self.device, self._non_blocking)
        pairs = zip(views.images, views.photometric, strict=True)
        images = [self._prepare(image, params) for image, params in pairs]
        for image, boxes in zip(images, views.cutouts or [], strict=False):
            if boxes is not None:
                cut_out(image, boxes)
        done = replace(views, images=images, photometric=[None] * len(images), cutouts=None)
        return {**data, 'inputs': done}

    def _prepare(self, images: Tensor, params: PhotometricParams | None) -> Tensor:
        # Colour operators and blur want whole planes; the normalisation writes the final layout.
        layout = self.layout if params is None else torch.contiguous_format
        out = planes = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=layout)
        if params is not None:
            planes = apply_photometric(planes, params)
            out = torch.empty_like(planes, memory_format=self.layout)
        return torch.addcmul(self.shift, planes, self.scale, out=out)


def cut_out(images: Tensor, boxes: Tensor) -> None:
    """Set to 0, in place, the pixels of (B, C, H, W) images whose centre lies in a box of theirs.

    Boxes are (B, K, 4), x1, y1, x2, y2 in pixels; one without area does nothing.
    """
    inside = []
    for axis, size in enumerate(images.shape[:1:-1]):  # x and its width, y and its height
        centres = torch.arange(size, device=images.device) + 0.5
        near, far = boxes[..., axis, None], boxes[..., axis + 2, None]
        inside.append(((centres >= near) & (centres < far)).float())  # (B, K, size)
    covered = torch.einsum('bkw,bkh->bhw', *inside) > 0
    images.masked_fill_(covered[:, None], 0)


def _checked(data: dict) -> Views:
    views = data.get('inputs') if isinstance(data, dict) else None
    if not isinstance(views, Views):
        got = f'inputs of type {type(views).__name__}' if isinstance(data, dict) else type(data)
        raise TypeError(
            f"PretrainDataPreprocessor needs dict(inputs=Views), got {got}; set the dataloader's "
            "collate_fn=dict(type='collate_views')"
        )
    for number, image in enumerate(views.images):
        if image.dtype != torch.uint8 or image.ndim != 4 or image.shape[3] != 3:
            raise ValueError(
                f'inputs.images[{number}] must be uint8 (B, H, W, 3) as collated, '
                f'got {image.dtype} {tuple(image.shape)}'
            )
    return views
