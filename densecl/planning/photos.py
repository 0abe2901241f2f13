"""Samples of a config's data set: from its own photos, or from bundled ones if they do not exist."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

from densecl.proposals import Felzenszwalb
from densecl.registry import DATASETS
from densecl.sample import sample_root

STAND_IN = (375, 500)  # height and width of a typical photo in ImageNet
_COUNT = 4


@dataclass(frozen=True)
class Samples:
    """A few samples, and their cost for a data worker.

    Attributes:
        samples: samples of the data set.
        images: number of images in the data set; None if its photos do not exist.
        seconds: time of one core per sample, including reading and decoding.
        tensors: number of tensors in a batch that a worker sends; each needs a file descriptor.
    """

    samples: list
    images: int | None
    seconds: float
    tensors: int


def take_samples(cfg: Config, count: int = 2, seconds: float = 0.5) -> Samples:
    """Make samples as the config's data workers do.

    If its photos are not on this machine, substitutes are used: bundled photos of 500 x 375 px, blank texts
    for captions, and Felzenszwalb's segments for stored proposals. The segments are made before the timing.

    Args:
        cfg: config of a pretraining; it is not changed.
        count: number of samples to return.
        seconds: duration of the timing.
    """
    init_default_scope(cfg.get('default_scope', 'densecl'))
    config = cfg.train_dataloader.dataset.copy()
    try:
        data, images = DATASETS.build(config.copy()), True
    except (FileNotFoundError, NotADirectoryError):
        images = False
    if images:
        return _timed(data, count, seconds, len(data))
    with _stand_ins() as folder:
        config.update(data_root=str(folder))
        if config.get('source', {}).get('type') != 'ImageNet':
            config.pop('source', None)
        if 'proposals' in config:
            config.proposals = _Remembered()
        if 'captions' in config:
            for photo in list(folder.glob('*/*.jpg')):
                photo.with_suffix('.txt').write_text('a photo')
            config.source = dict(type='Folder', captions='txt')
            config.captions.tokenizer = _Blank(config.captions.tokenizer.get('context_length', 77))
        return _timed(DATASETS.build(config), count, seconds, None)


class _Blank:
    """A tokenizer without vocabulary: every text becomes tokens with the id 0, of the right length."""

    def __init__(self, length: int) -> None:
        self.length = length

    def encode(self, texts: list[str]) -> Tensor:
        return torch.zeros(len(texts), self.length, dtype=torch.int64)


class _Remembered:
    """Felzenszwalb's segments, made once per photo; later reads take no time, as from a store."""

    def __init__(self) -> None:
        self._make, self._made = Felzenszwalb(), {}

    def __call__(self, image, image_id: str):
        if image_id not in self._made:
            self._made[image_id] = self._make(image, image_id)
        return self._made[image_id]


def _timed(data, count: int, least: float, images: int | None) -> Samples:
    from densecl.datasets import collate_views

    positions = [i % len(data) for i in range(count)]
    samples = [data[i] for i in positions]  # not timed: includes imports, tables and the first segments
    with _one_thread():
        begin, made = time.process_time(), 0
        while made < 2 or (time.process_time() - begin < least and made < 64):
            data[made % len(data)]
            made += 1
        seconds = (time.process_time() - begin) / made
    batch = collate_views(samples)['inputs']
    storages = set()
    batch.each_tensor(lambda x: storages.add(x.untyped_storage()._cdata))
    return Samples(samples, images, seconds, len(storages))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread, as in a data worker."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


@contextmanager
def _stand_ins() -> Iterator[Path]:
    """Folders of two classes with bundled photos, enlarged to 500 x 375."""
    photos = sorted((sample_root() / 'photos').rglob('*.jpg'))[:_COUNT]
    with tempfile.TemporaryDirectory() as root:
        for number, path in enumerate(photos):
            folder = Path(root) / f'class_{number % 2}'
            folder.mkdir(exist_ok=True)
            image = cv2.resize(cv2.imread(str(path)), STAND_IN[::-1], interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / path.name), image, [cv2.IMWRITE_JPEG_QUALITY, 90])
        yield Path(root)
