"""The views of one pretraining image (:class:`PretrainDataSample`), and of a batch (:class:`Views`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .corruption import Corruption
from .masks import BatchMask, collate_masks
from .photometric_params import PhotometricParams


@dataclass
class ViewRegions:
    """K regions of an image, as one view shows them. In a batch every tensor has a first dimension B.

    Attributes:
        boxes: (K, 4) float32, x1, y1, x2, y2 in pixels of the view, clipped to the view.
        ids: (K,) int64: an equal number is the same region in every view; -1: no region.
        masks: (K, h, w) float32 in [0, 1], the share of each cell of an h x w grid that the region covers,
            or None.
    """

    boxes: Tensor
    ids: Tensor
    masks: Tensor | None = None


class TokenMask(NamedTuple):
    """Which patches of a view are hidden, for B images.

    Attributes:
        hidden: (B, h, w) bool, the patches that the online branch does not see.
        counts: the smallest and the largest number of hidden patches of an image in the batch. They are plain
            integers on the host: no code has to wait for the device to learn a shape.
        asked: (B, n) int64, the hidden patches that a predictor has to predict; None: all.
    """

    hidden: Tensor
    counts: tuple[int, int]
    asked: Tensor | None = None

    @property
    def visible(self) -> int | None:
        """Number of visible patches of an image, if it is the same for all images; else None."""
        fewest, most = self.counts
        return self.hidden[0].numel() - most if fewest == most else None

    @property
    def most_hidden(self) -> int:
        """The largest number M of hidden patches of an image in the batch."""
        return self.counts[1]

    def hidden_places(self) -> Tensor:
        """Places of the hidden patches, (B, M) int64, in order.

        An image with fewer than M hidden patches is padded with visible ones.
        """
        return self._order(descending=True)[:, : self.most_hidden]

    def asked_places(self) -> Tensor:
        """Places of the hidden patches that a predictor has to predict, (B, n) int64."""
        return self.hidden_places() if self.asked is None else self.asked

    def visible_places(self) -> Tensor:
        """Places of the visible patches, (B, V) int64, in order; V must be the same for all images."""
        return self._order(descending=False)[:, : self.visible]

    def _order(self, descending: bool) -> Tensor:
        return self.hidden.flatten(1).to(torch.uint8).argsort(dim=1, descending=descending, stable=True)

    @classmethod
    def joined(cls, masks: Sequence['TokenMask']) -> 'TokenMask':
        """The masks of several views of one size as the mask of one batch. ``asked`` is dropped: encoders
        do not use it."""
        if len(masks) == 1:
            return masks[0]
        counts = [count for mask in masks for count in mask.counts]
        return cls(torch.cat([mask.hidden for mask in masks]), (min(counts), max(counts)))


@dataclass
class PretrainDataSample:
    """The V views of one image, as a data worker makes them.

    A field with "V entries" is a list with one entry for each view. The whole field may also be None, if no
    view of the recipe has it.

    Attributes:
        images: V tensors: uint8 (Hv, Wv, 3), RGB; or uint8, uint16 or float32 (Hv, Wv, C) of another sensor;
            or int64 (L,), the token ids of a text, whose boxes are 0.
        boxes: (V, 4) float32, each crop as x1, y1, x2, y2 in pixels of the upright original.
        flipped: (V,) bool, whether the view is mirrored left to right.
        source_size: height and width of the original in pixels.
        index: position of the image in its dataset.
        path: where the image came from, for messages and pictures.
        photometric: V entries: the photometric parameters that are still to be applied, or None.
        label: class id, or None.
        regions: name -> V entries: the regions of this name as each view shows them, or None.
        cutouts: V entries: (C, 4) float32, boxes x1, y1, x2, y2 in view pixels that are erased once the view
            is normalised, or None. A box without area erases nothing.
        masks: V entries: (h, w) bool over the patches of the view; or a placeholder for a mask that is drawn
            when the batch is collated; or None. True is masked: hidden from the student, or replaced.
        asked: V entries: (n,) int64, the masked patches that a predictor has to predict, or None for all.
        corruptions: V entries: what replaces the masked pixels for the student, once the view is normalised;
            or None: the masked patches are hidden instead.
        maps: name -> (C, h, w) float16, precomputed features of the whole original, not mirrored.
        answers: (V,) int64, the class of what was done to each view, from 0; -1 for a view without one. Or
            None.
        tokens: (L,) int64, a text about the image as token ids; (T, L) for T texts; or None.
        warps: V entries: (3, 3) float32, the homography of a warped view (``structures/geometry.py``), whose
            box then surrounds what the view shows; or None.
        generated: numbers of the views that are cut from another, generated image. Where they lie in the
            original is unknown.
        score: quality of the generated image, nan where unknown, or None.
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
    masks: list[Tensor | BatchMask | None] | None = None
    asked: list[Tensor | None] | None = None
    corruptions: list[Corruption | None] | None = None
    maps: dict[str, Tensor] = field(default_factory=dict)
    answers: Tensor | None = None
    tokens: Tensor | None = None
    warps: list[Tensor | None] | None = None
    generated: tuple[int, ...] = ()
    score: float | None = None


#: Fields with one entry a view, each of which is stacked.
_OF_VIEWS = ('images', 'photometric', 'regions', 'cutouts', 'asked', 'corruptions', 'maps', 'tokens', 'warps')


@dataclass
class Views:
    """The views of a batch of B images; see :class:`PretrainDataSample` for what each field means.

    Attributes:
        images: V tensors. As collated: uint8 (B, Hv, Wv, 3), or uint8, uint16 or float32 with C channels of
            another sensor. After the data preprocessor: float (B, C, Hv, Wv), normalised, on the device.
            Texts: (B, L) int64, token ids.
        boxes: (V, B, 4) float32: the crops, x1, y1, x2, y2 in pixels of the originals.
        flipped: (V, B) bool.
        source_sizes: (B, 2) float32, height and width of the originals in pixels.
        indices: (B,) int64, positions in the dataset.
        paths: B strings.
        photometric, regions, cutouts, masks, asked, corruptions, maps, tokens, warps: as in a sample, with a
            first dimension B of every array and tensor.
        generated: as in a sample.
        scores: (B,) float32, or None.
        labels: (B,) int64, -1 for an image without one, or None.
        hidden_counts: V entries: the smallest and the largest number of patches that the view's mask hides of
            an image, or None. The whole field may be None.
        corrupted: V entries, after the data preprocessor: the images as the student sees them, if the view
            had corruptions, else None. The whole field may be None.
        answers: (V, B) int64, or None.
    """

    images: list[Tensor]
    boxes: Tensor
    flipped: Tensor
    source_sizes: Tensor
    indices: Tensor
    paths: list[str]
    photometric: list[PhotometricParams | None]
    labels: Tensor | None = None
    regions: dict[str, list[ViewRegions | None]] = field(default_factory=dict)
    cutouts: list[Tensor | None] | None = None
    masks: list[Tensor | None] | None = None
    asked: list[Tensor | None] | None = None
    hidden_counts: list[tuple[int, int] | None] | None = None
    corruptions: list[Corruption | None] | None = None
    corrupted: list[Tensor | None] | None = None
    maps: dict[str, Tensor] = field(default_factory=dict)
    answers: Tensor | None = None
    tokens: Tensor | None = None
    warps: list[Tensor | None] | None = None
    generated: tuple[int, ...] = ()
    scores: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def collate(cls, samples: list[PretrainDataSample]) -> 'Views':
        """Stack samples. All need the same number of views, with the same sizes, dtype and channels.

        Raises:
            ValueError: images differ in dtype or number of channels; the message names two files.
        """
        _check_alike(samples)
        labels = None
        if any(s.label is not None for s in samples):  # -1 for an image without one
            labels = torch.tensor([-1 if s.label is None else s.label for s in samples])
        answers = None if samples[0].answers is None else torch.stack([s.answers for s in samples], 1)
        masks = collate_masks([s.masks for s in samples])
        return cls(
            boxes=torch.stack([s.boxes for s in samples], 1),
            flipped=torch.stack([s.flipped for s in samples], 1),
            source_sizes=torch.tensor([s.source_size for s in samples], dtype=torch.float32),
            indices=torch.tensor([s.index for s in samples]),
            paths=[s.path for s in samples],
            labels=labels,
            generated=samples[0].generated,
            scores=_scores([s.score for s in samples]),
            answers=answers,
            masks=masks,
            hidden_counts=None if masks is None else [_hidden_counts(mask) for mask in masks],
            **{name: stack([getattr(s, name) for s in samples]) for name in _OF_VIEWS},
        )

    def mask(self, view: int) -> TokenMask | None:
        """The patches of a view that are hidden or replaced; None: no patch."""
        if self.masks is None or self.masks[view] is None:
            return None
        asked = None if self.asked is None else self.asked[view]
        return TokenMask(self.masks[view], self.hidden_counts[view], asked)

    def warp(self, view: int) -> Tensor | None:
        """The homographies of a warped view, (B, 3, 3); None if the view is not warped."""
        return None if self.warps is None else self.warps[view]

    def replaced(self, view: int) -> Tensor | None:
        """The view (B, C, Hv, Wv) with its masked pixels replaced; then no patch of it is hidden.

        None if the view has no such replacement.
        """
        return None if self.corrupted is None else self.corrupted[view]

    def to(self, device: torch.device | str, non_blocking: bool = True) -> 'Views':
        """A copy with every tensor on ``device``.

        Photometric parameters and corruptions are NumPy arrays and stay on the CPU, where reading them needs
        no synchronisation.
        """
        return self.each_tensor(lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> 'Views':
        """A copy in page-locked memory; torch's DataLoader calls it."""
        return self.each_tensor(Tensor.pin_memory)

    def each_tensor(self, change: Callable[[Tensor], Tensor]) -> 'Views':
        """A copy in which every tensor is changed."""

        def changed(value):
            if isinstance(value, Tensor):
                return change(value)
            if is_dataclass(value):
                return type(value)(*(changed(getattr(value, f.name)) for f in fields(value)))
            if isinstance(value, dict):
                return {name: changed(item) for name, item in value.items()}
            return [changed(item) for item in value] if isinstance(value, list) else value

        return replace(self, **{f.name: changed(getattr(self, f.name)) for f in fields(self)})


def _hidden_counts(mask: Tensor | None) -> tuple[int, int] | None:
    """The smallest and the largest number of hidden patches of an image, from a mask (B, h, w)."""
    if mask is None:
        return None
    counts = mask.flatten(1).sum(1)
    return int(counts.min()), int(counts.max())


def _scores(scores: list[float | None]) -> Tensor | None:
    return None if scores[0] is None else torch.tensor(scores, dtype=torch.float32)


def _check_alike(samples: Sequence[PretrainDataSample]) -> None:
    first = samples[0]
    for sample in samples:
        kinds = [(x.images[0].shape[-1], x.images[0].dtype) for x in (first, sample)]
        if kinds[0] != kinds[1]:
            found = [f'{count} channels of {str(dtype)[6:]}' for count, dtype in kinds]
            raise ValueError(
                f'{first.path} has {found[0]}, {sample.path} {found[1]}: a batch needs images of one kind; '
                'set dtype and channels of the decoder, which then refuses the others by name'
            )


def stack(parts: Sequence) -> Any:
    """Stack B tensors or arrays along a new first dimension B.

    Lists, dicts and dataclasses are stacked item by item. If the parts are None, the result is None.
    """
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.stack(parts)
    if isinstance(first, np.ndarray):
        return np.stack(parts)
    if isinstance(first, dict):
        return {name: stack([part[name] for part in parts]) for name in first}
    if is_dataclass(first):
        return type(first)(*(stack([getattr(part, f.name) for part in parts]) for f in fields(first)))
    return None if first is None else [stack(each) for each in zip(*parts, strict=True)]
