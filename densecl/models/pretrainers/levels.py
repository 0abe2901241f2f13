"""The feature maps of a view, which heads read."""

from collections.abc import Callable, Iterable, Sequence
from copy import copy

from torch import Tensor

from densecl.models.heads.units.base import NoLevelError, pool


class Levels(Sequence[Tensor]):
    """The levels (B, C, H, W) of a view. If they were encoded in another order, a level is put back in order
    when it is read.

    Args:
        maps: the levels as they were encoded.
        back: puts rows back in the order of the images, without gradient. None: they are in order already.
    """

    def __init__(self, maps: Iterable[Tensor], back: Callable[[Tensor], Tensor] | None = None) -> None:
        self._maps: list[Tensor | None] = list(maps)
        self._back = back
        self._read: dict[int, tuple[Tensor, ...]] = {}
        self._means: dict[int, tuple[Tensor, ...]] = {}
        self._number, self._count = 0, 1

    def parts(self, count: int) -> list['Levels']:
        """Split into the levels of ``count`` views that were encoded in one pass; call before any read."""
        if self._back is None:  # split now, in the encoder's gradient mode
            return [Levels(part) for part in zip(*(x.chunk(count) for x in self._maps), strict=True)]
        found = [copy(self) for _ in range(count)]  # they share the encoded maps and what was read
        for number, part in enumerate(found):
            part._number, part._count = number, count
        return found

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, level: int) -> Tensor:
        level = self._number_of(level)
        if self._back is None:
            return self._maps[level]
        if level not in self._read:
            maps, self._maps[level] = self._maps[level], None  # do not keep it in memory twice
            self._read[level] = self._back(maps).chunk(self._count)
        return self._read[level][self._number]

    def pooled(self, level: int) -> Tensor:
        """The mean of each map, (B, C). If the level is not in order, only the means are put in order."""
        level = self._number_of(level)
        if self._back is None or level in self._read:
            return pool(self[level])
        if level not in self._means:
            self._means[level] = self._back(pool(self._maps[level])).chunk(self._count)
        return self._means[level][self._number]

    def _number_of(self, level: int) -> int:
        if not -len(self) <= level < len(self):
            raise NoLevelError(f'level {level} of {len(self)}')
        return level % len(self)
