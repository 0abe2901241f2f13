"""A run on disk."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


def is_run(folder: str | Path) -> bool:
    """Whether this is the folder of a run, of ``densecl pretrain`` or ``tools/train.py``."""
    return config_of(Path(folder)) is not None


def config_of(folder: Path) -> Path | None:
    """The config of a run: ``config.py``, else the whole one that the newest training of the folder wrote."""
    whole = sorted(folder.glob('*/vis_data/config.py'))
    own = folder / 'config.py'
    return own if own.is_file() else whole[-1] if whole else None


@dataclass(frozen=True)
class Run:
    """The folder of a pretraining, and what is in it.

    A config, checkpoints and the log; of ``densecl pretrain`` also ``settings.json`` (values and reasons) and
    ``manifest.json``; where it went on from weights ``start.pth``, and ``guard.json`` of the guard.

    Attributes:
        folder: of the run.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, 'folder', Path(self.folder))
        if not is_run(self.folder):
            raise FileNotFoundError(
                f'{self.folder} is no run of densecl pretrain or tools/train.py: there is no config in it'
            )

    @property
    def config(self) -> Path:
        """The config, which ``tools/train.py`` runs; see :func:`config_of`."""
        return config_of(self.folder)

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint.

        Raises:
            FileNotFoundError: there is none yet.
        """
        file = self.folder / 'last_checkpoint'
        newest = Path(file.read_text().strip()) if file.is_file() else None
        # The folder may have been moved since.
        if newest is None or not (self.folder / newest.name).is_file():
            raise FileNotFoundError(f'{self.folder} has no checkpoint yet: densecl pretrain --resume goes on')
        return self.folder / newest.name

    @property
    def best(self) -> Path:
        """The weights to use: what the guard chose, or the newest checkpoint where there was no guard.

        Raises:
            FileNotFoundError: there is no checkpoint yet.
        """
        path = self.folder / 'best_dense.pth'
        return path if path.is_file() and (self.guard or {}).get('chosen') else self.checkpoint

    @property
    def start(self) -> Path | None:
        """The weights that it started from, or None."""
        path = self.folder / 'start.pth'
        return path if path.is_file() else None

    @property
    def photos(self) -> list[str]:
        """Folders of its photos; none where one is no longer there."""
        from densecl.engine.launch import read_config

        root = read_config(str(self.config)).train_dataloader.dataset.data_root
        roots = [root] if isinstance(root, str) else list(root)
        return roots if all(Path(path).is_dir() for path in roots) else []

    @cached_property
    def settings(self) -> list[dict[str, Any]]:
        """Name, value and reason of each setting."""
        return self._json('settings.json') or []

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Which files it saw, versions, settings, starting weights."""
        return self._json('manifest.json') or {}

    @property
    def guard(self) -> dict[str, Any] | None:
        """What the guard measured, and ``told``, its answer; None where it did not run."""
        return self._json('guard.json')

    def export(self, path: str | Path | None = None, to: str = 'mmdet', force: bool = False) -> Path:
        """Write the backbone for those who will use it; see :func:`densecl.runs.export_run`."""
        from .export import export_run

        return export_run(self, path, to, force)

    def _json(self, name: str) -> Any:
        path = self.folder / name
        return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else None
