"""In distributed training one process lists the images and sends the list to the others."""

import os
import pickle
import socket
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from mmengine.dist import broadcast

from densecl.datasets import PretrainDataset, UnreadableImageError
from densecl.datasets.pretrain_dataset import build_source
from densecl.datasets.sources import Source
from densecl.distributed import rank, world_size
from densecl.registry import DATASETS

#: Seconds between signs of life of process 0, so that no collective waits longer during a long listing.
BEAT = 30.0
#: Bytes of one broadcast. With NCCL each GPU needs as much free memory.
CHUNK = 2**26
#: Number of images that every process checks.
LOOKED_FOR = 16


def with_shared_source(loader: Any) -> Any:
    """The config of a training loader, with a source that process 0 listed and sent to all processes.

    A collective operation: every process must call it. Some loaders are returned unchanged: one that is
    already built, one of another data set than :class:`PretrainDataset`, and any loader of a single process.

    Raises:
        OSError, ValueError: in process 0, what the source raises; the others raise a RuntimeError with the
            same message.
        FileNotFoundError: in all processes, if one of them does not see the files that process 0 sees.
    """
    if world_size() == 1 or not isinstance(loader, dict) or not _is_pretraining(loader['dataset']):
        return loader
    dataset = loader['dataset']

    def listed() -> tuple[Source, dict[int, int]]:
        source = build_source(dataset['data_root'], dataset.get('source'), dataset.get('decoder'))
        return source, stamps(source)

    source, seen = made_by_process_0(listed)
    _check_everywhere(source, seen, dataset['data_root'])
    return {**loader, 'dataset': {**dataset, 'source': source}}


def _is_pretraining(dataset: Any) -> bool:
    kind = dataset.get('type') if isinstance(dataset, dict) else None
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, PretrainDataset)


def made_by_process_0(make: Callable[[], Any]) -> Any:
    """Run ``make`` in process 0 and return its result in every process.

    A collective operation. Arrays are sent as their bytes, without a copy. ``make`` may take longer than the
    timeout of the process group.

    Raises:
        RuntimeError: in the other processes, with the message of what ``make`` raised in process 0.
    """
    if rank():
        return _receive()
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(_pickled, make)
        while wait([made], timeout=BEAT).not_done:
            _say(None)
    if made.exception() is not None:
        _say(f'{type(made.exception()).__name__}: {made.exception()}')
    value, parts = made.result()
    _say([len(part) for part in parts])
    for part in parts:
        _broadcast(part)
    return value


def _receive() -> Any:
    while (said := _say(None)) is None:
        pass
    if isinstance(said, str):
        raise RuntimeError(f'process 0 cannot list the images: {said}')
    parts = [np.empty(size, np.uint8) for size in said]
    for part in parts:
        _broadcast(part)
    return pickle.loads(parts[0], buffers=parts[1:])


def _pickled(make: Callable[[], Any]) -> tuple[Any, list[np.ndarray]]:
    """The result of ``make``; and as bytes: first everything but its arrays, then each array."""
    value, arrays = make(), []
    head = pickle.dumps(value, protocol=5, buffer_callback=arrays.append)
    return value, [np.frombuffer(part, np.uint8) for part in (head, *(array.raw() for array in arrays))]


def _say(word: Any) -> Any:
    """Send a small object from process 0 to every process, and return it."""
    words = [word]
    dist.broadcast_object_list(words)
    return words[0]


def _broadcast(part: np.ndarray) -> None:
    """Send, or receive into, an array of (n,) bytes, in pieces."""
    for start in range(0, len(part), CHUNK):
        piece = part[start : start + CHUNK]
        broadcast(torch.from_numpy(piece if piece.flags.writeable else piece.copy()))


def stamps(source: Source) -> dict[int, int]:
    """Position -> :func:`stamp` of some images, spread over the source, that this process can read."""
    found = {i: stamp(source, i) for i in range(0, len(source), -(-len(source) // LOOKED_FOR))}
    return {i: value for i, value in found.items() if value is not None}


def stamp(source: Source, index: int) -> int | None:
    """Size of an image's file in bytes, or a checksum of an image in a tar; None if it cannot be read."""
    try:
        data, _ = source.load(index)
        return zlib.crc32(data) if isinstance(data, bytes) else os.path.getsize(data)
    except (OSError, UnreadableImageError):
        return None


def _check_everywhere(source: Source, seen: dict[int, int], data_root: Any) -> None:
    """Raise in every process if one of them does not see the same files as process 0."""
    wrong = next((i for i, value in seen.items() if stamp(source, i) != value), None)
    place = (
        wrong if wrong is None else f'{source.image_id(wrong)} on {socket.gethostname()}, process {rank()}'
    )
    everywhere: list[str | None] = [None] * world_size()
    dist.all_gather_object(everywhere, place)
    if places := [x for x in everywhere if x]:
        raise FileNotFoundError(
            f'train_dataloader.dataset.data_root={data_root}: {len(places)} of {world_size()} processes do '
            f'not see the files that process 0 lists (first {places[0]}: missing, or another file); copy or '
            'mount them at the same path on every machine'
        )
