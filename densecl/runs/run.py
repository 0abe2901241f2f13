"""A pretraining on disk, for code that uses its weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from densecl.files import checkpoints_of

from .folder import RunFolder, config_of


def is_run(folder: str | Path) -> bool:
    """Whether this is the folder of a run, of ``densecl pretrain`` or ``tools/train.py``."""
    return config_of(Path(folder)) is not None


@dataclass(frozen=True)
class Run(RunFolder):
    """The folder of a pretraining with its weights; in contrast to its base class, missing parts are errors.

    Raises:
        FileNotFoundError: there is no config in the folder.
    """

    def __post_init__(self) -> None:
        if not is_run(self.folder):
            raise FileNotFoundError(
                f'{self.folder} is no run of densecl pretrain or tools/train.py: there is no config in it'
            )
        super().__post_init__()

    @property
    def config(self) -> Path:
        """The config for ``tools/train.py``; see :func:`config_of`."""
        return config_of(self.folder)

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint.

        Raises:
            FileNotFoundError: there is none yet.
        """
        found = checkpoints_of(self.folder)
        if not found:
            raise FileNotFoundError(f'{self.folder} has no checkpoint yet: densecl pretrain --resume goes on')
        return found[0]

    @property
    def best(self) -> Path:
        """The weights to use: what its guard chose at the end, else the newest checkpoint.

        Raises:
            FileNotFoundError: there is no checkpoint yet.
        """
        from densecl.evaluation.guard import chosen_weights

        return chosen_weights(self.folder) or self.checkpoint

    @property
    def start(self) -> Path | None:
        """The weights that it started from, or None."""
        path = self.folder / 'start.pth'
        return path if path.is_file() else None

    @property
    def kept_start(self) -> bool:
        """Whether the guard chose the start: nothing that it measured later was better."""
        return self.start is not None and self.guard.get('chosen') == 'start'

    @property
    def compared(self) -> dict[str, Path]:
        """Name -> weights that show what the training did: the start, if any, and the best after it.

        If the best is the start, the newest checkpoint is shown beside it.

        Raises:
            FileNotFoundError: there is no checkpoint yet.
        """
        after = self.checkpoint if self.kept_start else self.best
        why = ', not chosen: the guard kept the start' if self.kept_start else ''
        parts = {'start': self.start, f'after training ({after.name}{why})': after}
        return {name: path for name, path in parts.items() if path is not None}

    @property
    def photos(self) -> list[str]:
        """Folders of its photos; none if one of them no longer exists, or of a fine-tuning."""
        from densecl.engine.launch import read_config

        root = read_config(str(self.config)).train_dataloader.dataset.get('data_root', [])
        roots = [root] if isinstance(root, str) else list(root)
        return roots if all(Path(path).is_dir() for path in roots) else []

    def export(self, path: str | Path | None = None, to: str = 'mmdet', force: bool = False) -> Path:
        """Write the backbone for its users; see :func:`densecl.runs.export.export_checkpoint`."""
        from .export import export_checkpoint

        return export_checkpoint(self.best, path, to, force=force).path

    def json(self, name: str, kind: type) -> Any:
        """Content of a file of the folder; an empty ``kind`` if there is no such file.

        Raises:
            ValueError: it is cut off or of another kind.
        """
        path = self.folder / name
        try:
            content = json.loads(path.read_text(encoding='utf-8')) if path.is_file() else kind()
        except ValueError as error:
            raise ValueError(f'{path} is no json, or cut off: {error}') from error
        if not isinstance(content, kind):
            raise ValueError(f'{path} must hold a {kind.__name__}, has a {type(content).__name__}')
        return content
