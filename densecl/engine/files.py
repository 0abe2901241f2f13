"""mmengine's checkpoints, written atomically."""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from densecl.files import atomic_write


class AtomicLocalBackend(LocalBackend):
    """mmengine's local files, written under a temporary name and then renamed.

    If a run is killed while it saves, the previous checkpoint stays intact, and there is never half a file.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes."""
        with atomic_write(filepath) as temporary:
            Path(temporary).write_bytes(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text."""
        self.put(obj.encode(encoding), filepath)


register_backend('local', AtomicLocalBackend, force=True, prefixes='')
