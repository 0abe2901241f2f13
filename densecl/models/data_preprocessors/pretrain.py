"""The data preprocessor of pretraining."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from densecl.registry import MODELS
from densecl.structures import Corruption, PhotometricParams, Views

from .corruption import corrupt
from .photometric import apply_photometric
from .photometric_bands import apply_gamma_and_noise, apply_photometric_bands
from .photometric_pixels import apply_pixel_operators

_DEPTHS = (torch.uint8, torch.uint16, torch.float32)


@MODELS.register_module()
class PretrainDataPreprocessor(BaseDataPreprocessor):
    """Move a batch of views to the device, augment and normalise it there.

    Three values of ``mean`` without ``low`` and ``high`` mean 8-bit RGB. Otherwise images come from another
    sensor: uint8, uint16 or float32, with any number of channels; operators for colours are then left out.
    :func:`densecl.datasets.estimate_statistics` computes the values for such images.

    Args:
        mean: mean of each channel; for RGB on the scale 0..255, by default ImageNet's.
        std: standard deviation of each channel, likewise.
        low: the value of each channel that is black, which brightness leaves as it is; None: 0.
        high: the value of each channel that is white, for gamma, for noise in units of the range, for salt
            and pepper, and for pictures; None: 255 for 8-bit RGB, unknown for other images.
        channels_last: memory format of the returned images.
        non_blocking: do not wait for copies from page-locked memory.

    Raises:
        ValueError: the numbers of values differ, or a std is not above 0.
    """

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        channels_last: bool = True,
        non_blocking: bool = True,
        low: Sequence[float] | None = None,
        high: Sequence[float] | None = None,
    ) -> None:
        super().__init__(non_blocking)
        #: Whether colour operators of 8-bit RGB are compiled; ``Pretrainer(compile_backbone=...)`` sets it.
        self.compiled = False
        given = [values for values in (mean, std, low, high) if values is not None]
        if not mean or {len(values) for values in given} != {len(mean)} or min(std) <= 0:
            raise ValueError(
                'mean, std, low and high need one value a channel each, std above 0; '
                f'got mean={mean}, std={std}, low={low}, high={high}'
            )
        self.channels, self.rgb = len(mean), len(mean) == 3 and low is None and high is None
        self.low, self.high = low, high
        mean, std = (torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (mean, std))
        black = torch.zeros(len(mean[0])) if low is None else torch.tensor(low, dtype=torch.float32)
        white = (
            torch.full((len(mean[0]),), 255.0) if high is None else torch.tensor(high, dtype=torch.float32)
        )
        self.register_buffer('scale', 1 / std, persistent=False)
        self.register_buffer('shift', -mean / std, persistent=False)
        for name, values in (('black', black), ('white', white), ('std', std)):
            self.register_buffer(name, values.view(-1, 1, 1), persistent=False)
        self.channels_last = channels_last

    @property
    def layout(self) -> torch.memory_format:
        """The memory format of the images; it is no attribute, as it cannot be pickled with the module."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @torch.no_grad()
    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch: ``inputs`` is a :class:`Views` with images (B, Hv, Wv, C); other keys stay.

        The images become float32 (B, C, Hv, Wv) on the device, normalised, and 0 where views have cutouts.
        For views with corruptions, ``corrupted`` has the images that the online branch sees. ``training`` is
        not used: views are augmented if they have parameters that have not been applied yet.

        Raises:
            TypeError: ``inputs`` is no :class:`Views`.
            ValueError: images have another dtype or number of channels, or an operator needs ``high``.
        """
        views = self._checked(data).to(self.device, self._non_blocking)
        pairs = zip(views.images, views.photometric, strict=True)
        images = [self._prepare(image, params) for image, params in pairs]
        for image, boxes in zip(images, views.cutouts or [], strict=False):
            if boxes is not None:
                cut_out(image, boxes)
        left = dict(photometric=[None] * len(images), cutouts=None, corruptions=None)
        done = replace(views, images=images, corrupted=self._corrupted(views, images), **left)
        return {**data, 'inputs': done}

    def _corrupted(self, views: Views, images: list[Tensor]) -> list[Tensor | None] | None:
        if views.corruptions is None:
            return None
        return [
            None if each is None else self._corrupt(image, mask, each).contiguous(memory_format=self.layout)
            for image, mask, each in zip(images, views.masks, views.corruptions, strict=True)
        ]

    def _corrupt(self, images: Tensor, mask: Tensor, corruption: Corruption) -> Tensor:
        return corrupt(images, mask, corruption, -self.shift / self.scale, self.std)

    def _prepare(self, images: Tensor, params: PhotometricParams | None) -> Tensor:
        # Colour operators and blur get contiguous channels; the normalisation writes the final layout.
        layout = self.layout if params is None else torch.contiguous_format
        # Also float32 images are copied: the steps below work in place.
        out = planes = images.permute(0, 3, 1, 2).to(torch.float32, copy=True, memory_format=layout)
        if params is not None:
            planes = self._augment(planes, params)
            out = torch.empty_like(planes, memory_format=self.layout)
        return torch.addcmul(self.shift, planes, self.scale, out=out)

    def _augment(self, planes: Tensor, params: PhotometricParams) -> Tensor:
        if self.rgb:
            planes = apply_photometric(planes, params, self.compiled)
        else:
            self._check_limits(params)
            planes = apply_photometric_bands(planes, params, self.black)
        planes = apply_gamma_and_noise(planes, params, self.black, self.white, self.std)
        return apply_pixel_operators(planes, params, self.black, self.white, limited=self.rgb)

    def _check_limits(self, params: PhotometricParams) -> None:
        if self.high is not None:
            return
        asked = dict(
            gamma=params.gamma != 1, noise_unit=params.range_noise > 0, salt_pepper=params.salt_pepper > 0
        )
        for name, used in asked.items():
            if used.any():
                raise ValueError(
                    f'photometric.{name} acts between black and white: set data_preprocessor.high (and low) '
                    f'to {self.channels} values (tools/image_statistics.py prints them)'
                )

    def _checked(self, data: dict) -> Views:
        views = _views_of(data)
        for number, image in enumerate(views.images):
            if image.dtype == torch.int64:
                raise ValueError(
                    f'inputs.images[{number}] are tokens of texts, not photos; take '
                    "data_preprocessor=dict(type='TextPreprocessor') and a text tower as the backbone, or "
                    'data of photos'
                )
            if self.rgb and (image.dtype != torch.uint8 or image.ndim != 4 or image.shape[3] != 3):
                raise ValueError(
                    f'inputs.images[{number}] must be uint8 (B, H, W, 3) as collated, '
                    f'got {image.dtype} {tuple(image.shape)}; images of another sensor need '
                    'data_preprocessor.mean, std, low and high (tools/image_statistics.py prints them)'
                )
            if image.ndim != 4 or image.shape[3] != self.channels or image.dtype not in _DEPTHS:
                raise ValueError(
                    f'inputs.images[{number}] has {image.shape[-1]} channels ({image.dtype}), '
                    f'data_preprocessor.mean has {self.channels} values: set mean, std, low and high to '
                    f'{image.shape[-1]} each (tools/image_statistics.py prints them), or decoder.channels to '
                    f'{self.channels}'
                )
        return views


def cut_out(images: Tensor, boxes: Tensor) -> None:
    """Set pixels of images (B, C, H, W) to 0, in place, if their centre lies in a box of the image.

    Boxes are (B, K, 4): x1, y1, x2, y2 in pixels. A box without area has no effect.
    """
    inside = []
    for axis, size in enumerate(images.shape[:1:-1]):  # first x and the width, then y and the height
        centres = torch.arange(size, device=images.device) + 0.5
        near, far = boxes[..., axis, None], boxes[..., axis + 2, None]
        inside.append(((centres >= near) & (centres < far)).float())  # (B, K, size)
    covered = torch.einsum('bkw,bkh->bhw', *inside) > 0
    images.masked_fill_(covered[:, None], 0)


def _views_of(data: dict) -> Views:
    views = data.get('inputs') if isinstance(data, dict) else None
    if not isinstance(views, Views):
        got = f'inputs of type {type(views).__name__}' if isinstance(data, dict) else type(data)
        raise TypeError(
            f"PretrainDataPreprocessor needs dict(inputs=Views), got {got}; set the dataloader's "
            "collate_fn=dict(type='collate_views')"
        )
    return views
