"""One pretraining image (:class:`PretrainDataSample`) and one batch of them (:class:`Views`)."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from .regions import ViewRegions


@dataclass
class PhotometricParams:
    """The drawn parameters of a view's photometric augmentation; CPU tensors.

    Of one view the shapes are those below; a batch has B in front.

    Attributes:
        order: (4,) int64, the order of brightness (0), contrast (1), saturation (2) and hue (3).
        factors: (4,) float32, brightness, contrast and saturation factors (1 changes nothing) and the hue
            shift in turns, [-0.5, 0.5].
        jitter: () bool, whether the colour jitter is applied at all.
        gray: () bool, whether the view becomes grey.
        sigma: () float32, standard deviation of the Gaussian blur in pixels; 0 is no blur.
        solarize: () float32, pixels at or above this value (0..255 scale) are inverted; 256 is none.
    """

    order: Tensor
    factors: Tensor
    jitter: Tensor
    gray: Tensor
    sigma: Tensor
    solarize: Tensor

    @classmethod
    def stack(cls, params: list['PhotometricParams']) -> 'PhotometricParams':
        """Stack the parameters of B views; every tensor gains a leading B."""
        return cls(*(torch.stack([getattr(p, f.name) for p in params]) for f in fields(cls)))


@dataclass
class PretrainDataSample:
    """The V views of one image, as a data worker leaves them.

    Attributes:
        images: V tensors, uint8 (Hv, Wv, 3), RGB.
        boxes: (V, 4) float32, each crop as x1, y1, x2, y2 in pixels of the upright original.
        flipped: (V,) bool, mirrored left to right.
        source_size: height and width of the original in pixels.
        index: position of the image in its dataset.
        path: where the image came from, for messages and pictures.
        photometric: V entries: parameters still to be applied, or None.
        label: class id, or None.
        regions: name -> V entries, the regions of this name as each view shows them, or None.
        cutouts: V entries: (C, 4) float32, x1, y1, x2, y2 in view pixels, to be blotted out once the view
            is normalised (without area: none), or None; or None altogether.
    """

    images: list[Tensor]
    boxes: Tensor
    flipped: Tensor
    source_size: tuple[int, int]
    index: int
    path: str
    photometric: list[PhotometricParams | None]
    label: int | None = None
    regions: dict[str, list[ViewRegions | None]] = field(default_factory=dict)
    cutouts: list[Tensor | None] | None = None


@dataclass
class Views:
    """The views of a batch of B images.

    Attributes:
        images: V tensors. uint8 (B, Hv, Wv, 3) as collated; float (B, 3, Hv, Wv), normalised and on the
            device, after the data preprocessor.
        boxes: V tensors (B, 4) float32: the crops, x1, y1, x2, y2 in pixels of the originals.
        flipped: V tensors (B,) bool.
        source_sizes: (B, 2) float32, height and width of the originals in pixels.
        indices: (B,) int64, positions in the dataset.
        paths: B strings.
        photometric: V entries: batched parameters still to be applied, or None.
        labels: (B,) int64, or None.
        regions: name -> V entries, the regions of this name in each view, with B in front, or None.
        cutouts: V entries: (B, C, 4) in view pixels, what the data preprocessor still sets to 0, or None.
    """

    images: list[Tensor]
    boxes: list[Tensor]
    flipped: list[Tensor]
    source_sizes: Tensor
    indices: Tensor
    paths: list[str]
    photometric: list[PhotometricParams | None]
    labels: Tensor | None = None
    regions: dict[str, list[ViewRegions | None]] = field(default_factory=dict)
    cutouts: list[Tensor | None] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def batch_size(self) -> int:
        """B, the number of images."""
        return len(self.indices)

    @classmethod
    def collate(cls, samples: list[PretrainDataSample]) -> 'Views':
        """Stack samples; all of them need the same number of views, of the same sizes."""
        count = len(samples[0].images)
        boxes = torch.stack([s.boxes for s in samples])
        flipped = torch.stack([s.flipped for s in samples])
        params = [[s.photometric[v] for s in samples] for v in range(count)]
        return cls(
            images=[torch.stack([s.images[v] for s in samples]) for v in range(count)],
            boxes=list(boxes.unbind(1)),
            flipped=list(flipped.unbind(1)),
            source_sizes=torch.tensor([s.source_size for s in samples], dtype=torch.float32),
            indices=torch.tensor([s.index for s in samples]),
            paths=[s.path for s in samples],
            photometric=[None if p[0] is None else PhotometricParams.stack(p) for p in params],
            labels=_labels([s.label for s in samples]),
            regions={
                name: _stacked([s.regions[name] for s in samples], ViewRegions.stack)
                for name in samples[0].regions
            },
            cutouts=_stacked([s.cutouts for s in samples], torch.stack),
        )

    def to(self, device: torch.device | str, non_blocking: bool = True) -> 'Views':
        """A copy with images and geometry on ``device``; photometric parameters stay on the CPU,
        where reading them costs no synchronisation."""
        return self._each_tensor(lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> 'Views':
        """A copy in page-locked memory; called by torch's DataLoader."""
        return self._each_tensor(Tensor.pin_memory)

    def _each_tensor(self, change: Callable[[Tensor], Tensor]) -> 'Views':
        """A copy in which every tensor but the photometric parameters is changed."""

        def changed(value):
            if isinstance(value, Tensor):
                return change(value)
            if isinstance(value, ViewRegions):
                return ViewRegions(*(changed(getattr(value, f.name)) for f in fields(value)))
            if isinstance(value, dict):
                return {name: changed(item) for name, item in value.items()}
            return [changed(item) for item in value] if isinstance(value, list) else value

        kept = ('photometric', 'paths')
        names = [f.name for f in fields(self) if f.name not in kept]
        return replace(self, **{name: changed(getattr(self, name)) for name in names})


def _stacked(per_sample: list[list | None], stack: Callable) -> list | None:
    """B lists of V entries -> V stacked entries; a view without any stays None."""
    if per_sample[0] is None:
        return None
    views = zip(*per_sample, strict=True)
    return [None if of_view[0] is None else stack(of_view) for of_view in views]


def _labels(labels: list[int | None]) -> Tensor | None:
    """(B,) int64, -1 for an image without a label; None where no image has one."""
    if all(label is None for label in labels):
        return None
    return torch.tensor([-1 if label is None else label for label in labels])
