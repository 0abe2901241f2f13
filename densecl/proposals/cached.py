"""Proposals made on the fly, each once."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from densecl.registry import PROPOSALS
from densecl.structures import Proposals

from .log import Log, as_json, lookup
from .names import name_hash
from .record import PRECISION, decode, encode


@PROPOSALS.register_module()
class Cached:
    """What a provider says, kept in a folder that any number of processes share.

    For a first epoch without ``tools/make_proposals.py``: slow until every image has been seen once. An
    image is filed under its hash in one of ``buckets`` logs, to which one process at a time appends; a
    process may be killed at any time. Boxes come rounded to ``precision`` also the first time, so that a
    run sees the same with a cold and with a warm cache.

    Args:
        provider: config of a provider, or one.
        folder: made if it does not exist. One folder holds one provider's proposals of one data source.
        precision: see :func:`densecl.proposals.record.encode`.
        buckets: files in the folder; about one for some hundred images.

    Raises:
        ValueError: when the first image is asked for and the folder is of another provider.
    """

    def __init__(
        self,
        provider: dict | Callable,
        folder: str | Path,
        precision: float = PRECISION,
        buckets: int = 4096,
    ) -> None:
        is_config = isinstance(provider, dict)
        self.provider = PROPOSALS.build(dict(provider)) if is_config else provider
        self.needs_full_size = getattr(self.provider, 'needs_full_size', False)
        self.folder, self.precision, self.buckets = Path(folder).expanduser(), precision, buckets
        described = dict(provider) if is_config else type(provider).__name__
        self.settings = dict(provider=described, precision=precision, buckets=buckets)

    def __call__(self, image: np.ndarray, image_id: str) -> Proposals:
        """From the folder, or from the provider and into the folder."""
        name = os.fsencode(image_id)
        path = self.folder / f'{name_hash(name) % self.buckets:05d}.log'
        record = self._held(path, name)
        if record is None:
            record = encode(self.provider(image, image_id), self.precision)
            log = Log(path, self.settings, wait=True)
            try:
                if name not in log.entries:  # or else another worker was faster
                    log.append(name, record)
            finally:
                log.close()
        return decode(record)

    def _held(self, path: Path, name: bytes) -> bytes | None:
        data = path.read_bytes() if path.exists() else b''
        # other settings: let the log say so
        return lookup(data, name) if lookup(data, b'') == as_json(self.settings).encode() else None
