"""The data set of text pretraining."""

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from densecl.datasets.sampler import SampleKey
from densecl.datasets.subset import subset_of
from densecl.registry import DATASETS, TRANSFORMS
from densecl.structures import PretrainDataSample

from .files import Texts
from .tokenizer import Tokenizer


@DATASETS.register_module()
class TextDataset(Dataset):
    """Texts, each as token ids of V views.

    A view is a text of its line, unchanged or augmented. By default a line with one text has two equal views;
    a text tower with dropout encodes them differently (SimCSE). By default a line with several columns has
    one view per column, in their order: text and positive, or text, positive and hard negative.

    What ``dataset[SampleKey(epoch, index)]`` returns depends on (seed, epoch, index) only. A plain
    ``dataset[index]`` is epoch 0.

    Args:
        data_root: file of texts, or a list of files, see :func:`.read_rows`.
        tokenizer: config, ``dict(type='Tokenizer', path='tokenizer.json', context_length=32)``; or an object
            with ``encode(list[str]) -> (N, L) int64``.
        columns: names of the table's columns that are texts.
        views: V dicts with ``columns``, names of columns of which one is drawn (back-translations, for
            example; by default all columns), and ``transform``, config of the text augmentation
            (``dict(type='EDA', ...)``).
        seed: seed of everything that is drawn.
        max_texts: use only this many lines, evenly spread.

    Raises:
        ValueError: an empty text, or no such column; the message names file and line.
    """

    def __init__(
        self,
        data_root: str | os.PathLike | Sequence,
        tokenizer: dict | Tokenizer,
        columns: Sequence[str] | None = None,
        views: Sequence[dict] | None = None,
        seed: int = 0,
        max_texts: int | None = None,
    ) -> None:
        self.texts = Texts(data_root, columns)
        self.tokenizer = TRANSFORMS.build(tokenizer) if isinstance(tokenizer, dict) else tokenizer
        names = list(columns) if columns is not None else ['text']
        if views is None:
            views = [dict(columns=[name]) for name in (names if len(names) > 1 else names * 2)]
        self.views = [_view(view, names) for view in views]
        self.seed = seed
        self._subset = subset_of(len(self.texts), max_texts, 'TextDataset: max_texts')

    def __len__(self) -> int:
        return len(self.texts) if self._subset is None else len(self._subset)

    def __getitem__(self, key: SampleKey | int) -> PretrainDataSample:
        epoch, index = tuple(key) if isinstance(key, tuple) else (0, key)
        if not 0 <= index < len(self):
            raise IndexError(f'index {index} is not within the {len(self)} texts')
        line = index if self._subset is None else int(self._subset[index])
        row, rng = self.texts[line], np.random.default_rng((self.seed, epoch, index))
        drawn = [change(row[columns[rng.integers(len(columns))]], rng) for columns, change in self.views]
        place = self.texts.where(line)
        try:
            tokens = self.tokenizer.encode(drawn)
        except ValueError as error:
            raise ValueError(f'{place}: {error}') from error
        return sample_of(tokens, index, place)


def sample_of(tokens: torch.Tensor, index: int, path: str) -> PretrainDataSample:
    """(V, L) token ids as the views of a sample; these views have no place in an image."""
    count = len(tokens)
    return PretrainDataSample(
        images=list(tokens),
        boxes=torch.zeros(count, 4),
        flipped=torch.zeros(count, dtype=torch.bool),
        source_size=(0, 0),
        index=index,
        path=path,
        photometric=[None] * count,
    )


def _view(view: dict, names: list[str]) -> tuple[list[int], Callable]:
    unknown = set(view) - {'columns', 'transform'}
    if unknown:
        raise ValueError(f'TextDataset: a view has columns and transform, got {sorted(unknown)[0]!r}')
    wanted = view.get('columns', names)
    missing = [name for name in wanted if name not in names]
    if missing or not wanted:
        raise ValueError(
            f'TextDataset: a view wants the columns {list(wanted)}, there are {", ".join(names)}'
        )
    transform = view.get('transform')
    if transform is None:
        return [names.index(name) for name in wanted], _unchanged
    return [names.index(name) for name in wanted], TRANSFORMS.build(transform)


def _unchanged(text: str, rng: np.random.Generator) -> str:
    return text
