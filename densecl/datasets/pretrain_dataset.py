"""The data set of pretraining: a source of images, and a pipeline that makes views of them."""

import logging
import os
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from densecl.building import construct
from densecl.distributed import world_size
from densecl.messages import check_choice
from densecl.registry import DATASETS, PROPOSALS, TRANSFORMS
from densecl.structures import PretrainDataSample

from .captions import Captions
from .decode import Photo, decode_scaled, open_photo
from .feature_maps import FeatureMaps
from .generated import GeneratedImages
from .propose import propose
from .sampler import SampleKey
from .sources import Source
from .subset import subset_of
from .unreadable import Unreadable, UnreadableImageError

MAX_TRIES = 20


@DATASETS.register_module()
class PretrainDataset(Dataset):
    """Images of a source; a pipeline turns each into views.

    The result of ``dataset[SampleKey(epoch, index)]`` depends only on (seed, epoch, index). It does not
    depend on the process, the worker or earlier reads. A plain ``dataset[index]`` is epoch 0.

    Args:
        data_root: a path or a list of paths for the source.
        source: config of the source, by default ``dict(type='Folder')``; or a built source.
        pipeline: transforms ``results -> results``; the last one returns a PretrainDataSample. The first one
            gets a dict: image (H, W, 3) uint8 RGB; source_size (H, W) of the original (the image is smaller
            with ``decode_min_side``); rng, path, index, label; proposals if there is a provider; channels if
            there is a decoder. If the first one's ``takes_photo`` is True, the image may be a
            :class:`densecl.datasets.decode.Photo`.
        seed: seed of the views.
        on_error: ``raise``, or ``skip``: an unreadable file is logged once, marked (see :attr:`unreadable`)
            and replaced by an image drawn from (seed, epoch, index). An unreadable generated image is logged
            and replaced by its photo.
        max_unreadable: with ``on_error='skip'``, the largest share of unreadable images; beyond it the run
            stops. It is a share of the images that this process has asked for, or of one epoch's images
            if these are more.
        decode_min_side: decode large JPEGs at 1/2, 1/4 or 1/8 as long as the short side has at least this
            many pixels. Crops are then drawn in the smaller image. None: see ``decode_resolution``.
        high_depth: how values of more than 8 bits become 8, see :func:`densecl.datasets.decode.decode_image`.
        max_images: use only this many images, evenly spread over the source.
        proposals: config of a provider of candidate objects, for example ``dict(type='ProposalStore', ...)``.
            It is called with the decoded image and its id, and returns :class:`densecl.structures.Proposals`.
            They are scaled to the decoded image if they are for another size.
        decoder: config of a decoder for images other than 8-bit RGB, ``dict(type='SensorDecoder',
            channels=4)``. It is called with bytes or a path and a name, and returns (H, W, C) in any bit
            depth. None: RGB.
        decode_resolution: decode each JPEG at the coarsest of 1, 1/2, 1/4 and 1/8 at which every crop has at
            least this many pixels per pixel of its view, along both sides; the crops are drawn before. 1: no
            view is enlarged more than at full size. Below 1, down to 0.5: faster and more blurred. None:
            always at full size.
        maps: folders of :class:`.feature_maps.FeatureMaps`. A sample gets its image's maps, for a head's
            ``target=dict(type='TeacherFeatures', maps=...)``. Trainings set this.
        generated: arguments of :class:`.generated.GeneratedImages`: generated images of each photo. Recipes
            with ``generated=True`` make their views of them.
        captions: arguments of :class:`.captions.Captions`, for a source with texts: which captions a sample
            gets, and the tokenizer.

    Attributes:
        marks: images that could not be read, :class:`.unreadable.Unreadable`; shared by all workers.

    Raises:
        ValueError: an unknown choice, ``decode_min_side`` with a decoder or with proposals that need images
            at full size, or a transform that cannot work on the decoder's images.
    """

    def __init__(
        self,
        data_root: str | os.PathLike | list,
        source: dict | Source | None = None,
        pipeline: list[dict | Callable] | None = None,
        seed: int = 0,
        on_error: str = 'raise',
        decode_min_side: int | None = None,
        high_depth: str = 'range',
        max_images: int | None = None,
        proposals: dict | Callable | None = None,
        decoder: dict | Callable | None = None,
        decode_resolution: float | None = 1.0,
        maps: Sequence[str] = (),
        captions: dict | None = None,
        generated: dict | None = None,
        max_unreadable: float = 0.01,
    ) -> None:
        check_choice('PretrainDataset: on_error', on_error, ('raise', 'skip'))
        check_choice('PretrainDataset: high_depth', high_depth, ('range', 'stretch'))
        self.decoder = TRANSFORMS.build(decoder) if isinstance(decoder, dict) else decoder
        if self.decoder is not None:
            name = 'PretrainDataset: decode_min_side of a dataset with a decoder'
            check_choice(name, decode_min_side, (None,))
        self.source = build_source(data_root, source, self.decoder)
        pipeline = pipeline or []
        self.transforms = [TRANSFORMS.build(t) if isinstance(t, dict) else t for t in pipeline]
        _check_transforms(self.transforms, self.decoder)
        self.provider = PROPOSALS.build(proposals) if isinstance(proposals, dict) else proposals
        if decode_min_side is not None and getattr(self.provider, 'needs_full_size', False):
            raise ValueError(
                f'PretrainDataset: the boxes of {type(self.provider).__name__} fit photos at full size only, '
                f'but decode_min_side={decode_min_side} shrinks them; leave it out, or make a store with '
                'tools/make_proposals.py --from-soco'
            )
        self.seed, self.on_error = seed, on_error
        if decode_resolution is not None and not decode_resolution >= 0.5:
            raise ValueError(
                'PretrainDataset: decode_resolution must be 0.5 or more pixels of a crop per pixel of its '
                f'view, or None for full size, got {decode_resolution!r}'
            )
        self.decode_min_side, self.decode_resolution = decode_min_side, decode_resolution
        self.high_depth = high_depth
        self.maps = {str(folder): FeatureMaps(folder) for folder in maps}
        self.captions = None if captions is None else construct(Captions, captions, 'captions')
        if self.captions is not None:
            self.source.texts(0)  # refuse a source without texts here
        self.generated = None if generated is None else construct(GeneratedImages, generated, 'generated')
        self._subset = subset_of(len(self.source), max_images, 'PretrainDataset: max_images')
        if not 0 <= max_unreadable <= 1:
            raise ValueError(
                f'PretrainDataset: max_unreadable must be a share of images, 0 to 1, got {max_unreadable!r}'
            )
        share = len(self) / world_size()
        self.marks = Unreadable(len(self.source), max_unreadable, share, shared=on_error == 'skip')

    @property
    def metainfo(self) -> dict:
        """Names of the source's classes, if it has any; mmengine's loops read it."""
        names = self.source.class_names
        return {} if names is None else {'classes': tuple(names)}

    @property
    def shard_starts(self) -> np.ndarray | None:
        """The source's shard_starts, in positions of this dataset."""
        starts = self.source.shard_starts
        if starts is None or self._subset is None:
            return starts
        return np.searchsorted(self._subset, starts)

    @property
    def shuffle_window(self) -> int | None:
        """The source's shuffle_window."""
        return self.source.shuffle_window

    @property
    def unreadable(self) -> dict[str, str]:
        """Id -> reason of the photos that any worker found unreadable so far (``on_error='skip'``)."""
        return {self.source.image_id(i): reason for i, reason in self.marks.reasons().items()}

    def __len__(self) -> int:
        return len(self.source) if self._subset is None else len(self._subset)

    def __getitem__(self, key: SampleKey | int) -> PretrainDataSample | dict:
        _one_thread_per_worker()
        epoch, index = place = tuple(key) if isinstance(key, tuple) else (0, key)
        if not 0 <= index < len(self):
            raise IndexError(f'index {index} is not within the {len(self)} images')
        replacements = None
        for _ in range(MAX_TRIES):
            try:
                if self.on_error == 'skip':
                    self.marks.ask(self._position(index))
                results = self._decode(index)
                if self.captions is not None:
                    results['tokens'] = self._tokens(index, results['path'], (self.seed, *place, 2))
                if self.generated is not None:
                    results.update(self._generated(index, results, (self.seed, *place, 3)))
                made = self._make(results, np.random.default_rng((self.seed, *place)))
                self.marks.mend(self._position(index))
                return made
            except UnreadableImageError as error:
                if self.on_error == 'raise':
                    raise
                self._report(index, error)
                self.marks.check(error)
                last = error
            replacements = replacements or np.random.default_rng((self.seed, *place, 1))
            index = int(replacements.integers(len(self)))
        raise UnreadableImageError(f'{MAX_TRIES} images in a row cannot be read; the last: {last}') from last

    def _make(self, results: dict, rng: np.random.Generator) -> PretrainDataSample | dict:
        """Run the pipeline on an image; the error of a photo that cannot be decoded is not changed."""
        results['rng'], path = rng, results['path']
        for transform in self.transforms:
            try:
                results = transform(results)
            except UnreadableImageError:
                raise
            except Exception as error:
                what = f'{type(transform).__name__} failed on {path}'
                raise RuntimeError(f'{what}: {type(error).__name__}: {error}') from error
        return results

    def _tokens(self, index: int, name: str, seed: tuple[int, ...]) -> Tensor:
        """Tokens of an image's captions; drawn separately, so views are the same with and without them."""
        texts = self.source.texts(self._position(index))
        return self.captions(texts, np.random.default_rng(seed), name)

    def _generated(self, index: int, results: dict, seed: tuple[int, ...]) -> dict:
        """A generated image of a photo, and its score; drawn separately from the views."""
        found = self.generated(self.image_id(index), results['path'], np.random.default_rng(seed))
        if found is not None:
            try:
                return {'generated': self._generated_pixels(found.file), 'score': found.score}
            except UnreadableImageError as error:
                if self.on_error == 'raise':
                    raise
                self._report(index, error, generated=True)
        image = results['image']
        image = image.decode(1) if isinstance(image, Photo) else image
        return {'generated': image, 'score': float('nan')}

    def _generated_pixels(self, file: str) -> np.ndarray:
        if self.decoder is not None:
            return self.decoder(file, file)
        return decode_scaled(file, self.decode_min_side, file, self.high_depth)[0]

    def _decode(self, index: int) -> dict:
        position = self._position(index)
        found = self.source.load(position)
        if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], bytes | str)):
            raise TypeError(
                f'{type(self.source).__name__}.load must return (bytes of a file or its path, name), got '
                f'{type(found).__name__}'
            )
        data, name = found
        image, size = self._pixels(data, name)
        results = {
            'image': image,
            'source_size': size,
            'path': name,
            'index': index,
            'label': self.source.label(position),
        }
        if self.decoder is not None:
            results['channels'] = image.shape[2]
        if self.provider is not None:
            image_id = self.source.image_id(position)
            results['proposals'] = propose(self.provider, image, image_id, name)
        if self.maps:
            image_id = self.source.image_id(position)
            results['maps'] = {folder: maps[image_id] for folder, maps in self.maps.items()}
        return results

    def _pixels(self, data: bytes | str, name: str) -> tuple[np.ndarray | Photo, tuple[int, int]]:
        """The image, or a photo that the pipeline decodes at the size it needs; and the original's size."""
        if self.decoder is not None:
            image = self.decoder(data, name)
            return image, image.shape[:2]
        if self.decode_min_side is not None or not self._reads_late:
            return decode_scaled(data, self.decode_min_side, name, self.high_depth)
        image = open_photo(data, name, self.high_depth, self.decode_resolution)
        return image, image.shape[:2]

    @property
    def _reads_late(self) -> bool:
        """Whether the pixels of an image are not needed before the crops are drawn."""
        early = self.provider is not None and getattr(self.provider, 'reads_pixels', True)
        first = getattr(self.transforms[0], 'takes_photo', False) if self.transforms else False
        return self.decode_resolution is not None and first and not early

    def load(self, index: int) -> tuple[bytes | str, str]:
        """The encoded image ``index`` as bytes or a path, and its name."""
        return self.source.load(self._position(index))

    def image_id(self, index: int) -> str:
        """The source's id of image ``index``."""
        return self.source.image_id(self._position(index))

    def _position(self, index: int) -> int:
        return index if self._subset is None else int(self._subset[index])

    def _report(self, index: int, error: UnreadableImageError, generated: bool = False) -> None:
        if self.marks.add(self._position(index), error.reason, generated):
            by = 'its photo' if generated else 'another'
            count = self.marks.count(generated)
            # An error, not a warning: for ranks other than 0 mmengine prints only errors.
            print_log(f'replaced by {by} ({count} so far): {error}', 'current', logging.ERROR)


def build_source(
    data_root: str | os.PathLike | list,
    source: dict | Source | None = None,
    decoder: dict | Callable | None = None,
) -> Source:
    """Build the source in the same way as :class:`PretrainDataset` with these arguments."""
    if isinstance(source, Source):
        return source
    source = {'type': 'Folder', **(source or {}), 'data_root': data_root}
    if decoder is not None and source['type'] in ('Folder', 'ImageNet'):
        decoder = TRANSFORMS.build(decoder) if isinstance(decoder, dict) else decoder
        source.setdefault('extensions', getattr(decoder, 'extensions', ()))
    return DATASETS.build(source)


def _check_transforms(transforms: list, decoder) -> None:
    """Refuse transforms that would fail on the first image."""
    channels = getattr(decoder, 'channels', None)
    for transform in transforms if channels else ():
        if hasattr(transform, 'check_images'):
            transform.check_images(channels, getattr(decoder, 'dtype', None))


def _one_thread_per_worker() -> None:
    """Keep OpenCV from starting threads in every data worker."""
    if get_worker_info() is not None and cv2.getNumThreads() != 1:
        cv2.setNumThreads(0)
