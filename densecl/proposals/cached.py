"""Proposals made on the fly, each once."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from densecl.registry import PROPOSALS
from densecl.structures import Proposals

from .shard import Shard, check_settings, write_shard
from .table import PRECISION, to_batch, to_row


@PROPOSALS.register_module()
class Cached:
    """What a provider says, kept in a folder that any number of processes share.

    For a first epoch without ``tools/make_proposals.py``: slow until every image has been seen once. Each
    image has a small file, written whole or not at all, so a process may be killed at any time. Boxes come
    rounded to ``precision`` also the first time, so that a run sees the same with a cold and a warm cache.

    Args:
        provider: config of a provider, or one.
        folder: made if it does not exist. One folder holds one provider's proposals of one data source.
        precision: see :func:`densecl.proposals.table.to_row`.

    Raises:
        ValueError: when an image is asked for that the folder has of another provider.
    """

    def __init__(self, provider: dict | Callable, folder: str | Path, precision: float = PRECISION) -> None:
        is_config = isinstance(provider, dict)
        self.provider = PROPOSALS.build(dict(provider)) if is_config else provider
        self.needs_full_size = getattr(self.provider, 'needs_full_size', False)
        self.reads_pixels = getattr(self.provider, 'reads_pixels', True)
        self.folder, self.precision = Path(folder).expanduser(), precision
        described = dict(provider) if is_config else type(provider).__name__
        self.settings = dict(provider=described, precision=precision)

    def __call__(self, image: np.ndarray, image_id: str) -> Proposals:
        """From the folder, or from the provider and into the folder."""
        name = os.fsencode(image_id)
        digest = hashlib.blake2b(name, digest_size=16).hexdigest()
        path = self.folder / digest[:2] / f'{digest[2:]}.arrow'
        if not path.exists():
            row = to_row(image_id, self.provider(image, image_id), self.precision)
            write_shard(path, self.settings, [to_batch([row])])
        shard = Shard(path)
        check_settings(path, shard.settings, self.settings)
        return shard.read(*shard.find(name))
