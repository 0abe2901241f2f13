"""The online softmax: log-sum-exp of a similarity matrix, one tile after another.

With a running maximum (Milakov and Gimelshein, 2018) the result is exact up to rounding.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Keep = Callable[[slice, Tensor], Tensor]

# Entries of a tile: on a CPU a tile should stay in the cache, on a GPU it should be worth its launches.
TILE = {'cpu': 2**20, 'cuda': 2**21}
# Rows of a tile. A mask is asked about all rows at once, the tile is then narrower.
ROWS = {'cpu': 1024, 'cuda': 2**14}


def key_blocks(rows: int, keys: Tensor, tile: int | None = None) -> Iterator[slice]:
    """Split the keys into blocks of ``tile``, or such that ``rows`` times a block makes a tile."""
    width = TILE.get(keys.device.type, TILE['cpu']) // max(1, rows)
    if keys.is_cuda:  # of a large matrix larger tiles: fewer launches, and still little memory
        width = max(width, len(keys) // 32)
    width = tile or max(1, width)
    for start in range(0, len(keys), width):
        yield slice(start, min(start + width, len(keys)))


def logit_tiles(
    query: Tensor, keys: Tensor, keep: Keep | None, tile: int | None, first: int = 0
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows, columns and logits of each tile, -inf where ``keep`` says no; without gradient.

    All tiles share one buffer: use one up before asking for the next. ``keep`` is told that the columns are
    numbered from ``first`` on.
    """
    height = len(query) if keep else min(len(query), ROWS.get(query.device.type, ROWS['cpu']))
    blocks = list(key_blocks(height, keys, tile))
    if not height or not blocks:
        return
    buffer = query.new_empty(height * blocks[0].stop)
    for row in range(0, len(query), height):
        rows = slice(row, min(row + height, len(query)))
        for columns in blocks:
            shape = rows.stop - row, columns.stop - columns.start
            logits = buffer[: shape[0] * shape[1]].view(shape)
            torch.mm(query[rows], keys[columns].T, out=logits)
            if keep is not None:
                kept = keep(slice(first + columns.start, first + columns.stop), logits)
                logits.masked_fill_(~kept, float('-inf'))
            yield rows, columns, logits


class OnlineSoftmax:
    """Running maximum, sum and weighted key of each row's softmax, while keys arrive in blocks.

    With ``mean``, also the (N, C) softmax-weighted mean of the keys, the gradient of the (N, C) queries.
    """

    def __init__(self, query: Tensor, mean: bool) -> None:
        self.query = query
        # The least finite number, not -inf: in a row without any pair, -inf - top must not be NaN.
        self.top = query.new_full((len(query), 1), torch.finfo(query.dtype).min)
        self.total = torch.zeros_like(self.top)
        self.mean = torch.zeros_like(query) if mean else None

    def add(self, keys: Tensor, keep: Keep | None, tile: int | None, first: int = 0) -> None:
        """Take in (K, C) keys, whose columns are numbered from ``first`` on."""
        for rows, columns, logits in logit_tiles(self.query, keys, keep, tile, first):
            top, total = self.top[rows], self.total[rows]
            new_top = torch.maximum(top, logits.amax(1, keepdim=True))
            weights = logits.sub_(new_top).exp_()
            shrink = (top - new_top).exp_()
            total.mul_(shrink).add_(weights.sum(1, keepdim=True))
            if self.mean is not None:
                self.mean[rows].mul_(shrink).addmm_(weights, keys[columns])
            top.copy_(new_top)

    def finish(self) -> tuple[Tensor, Tensor]:
        """The (N,) log-sum-exp and maximum; ``mean`` becomes the weighted mean."""
        if self.mean is not None:
            self.mean.div_(self.total.clamp(min=1))  # a row's maximum alone adds 1
        lse = self.top + self.total.log()
        return lse.squeeze(1), self.top.masked_fill_(self.total == 0, float('-inf')).squeeze(1)
