"""How much each image's pair of views counts."""

import torch
from torch import Tensor, nn

from densecl.distributed import all_reduce, world_size
from densecl.numerics import full_precision, unit
from densecl.registry import MODELS
from densecl.structures import Batch

_STEPS = 16  # of power iteration


def foreground(maps: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Where the object is in two views of an image, of (B, C, H, W) and (B, C, H', W') features.

    The first principal direction of the cells of both views separates it from what is around it; what lies at
    the border of the views is background. Both are scaled together to [0, 1].

    Returns:
        (B, H, W) and (B, H', W'), without gradient.
    """
    maps, others = full_precision(maps.detach()), full_precision(others.detach())
    with torch.autocast(maps.device.type, enabled=False):
        cells = torch.cat([maps.flatten(2), others.flatten(2)], 2).mT  # (B, N + M, C)
        cells = cells - cells.mean(1, keepdim=True)
        # From the cell farthest from the mean: it has a share of the direction wherever cells differ.
        start = cells.square().sum(2).argmax(1)
        direction = cells.gather(1, start[:, None, None].expand(-1, 1, cells.shape[2])).mT  # (B, C, 1)
        for _ in range(_STEPS):
            direction = cells.mT @ (cells @ unit(direction, 1))
        along = (cells @ unit(direction, 1))[..., 0]
    border = torch.cat([_border(maps), _border(others)])
    outside = (along * border).sum(1, keepdim=True) / border.sum()
    along = torch.where(outside > 0, -along, along)  # the mean of all is 0
    low, high = along.amin(1, keepdim=True), along.amax(1, keepdim=True)
    along = (along - low) / (high - low).clamp(min=torch.finfo(along.dtype).eps)
    first, second = along.split([maps[0, 0].numel(), others[0, 0].numel()], 1)
    return first.unflatten(1, maps.shape[2:]), second.unflatten(1, others.shape[2:])


def _border(maps: Tensor) -> Tensor:
    """(H*W,), 1 for the outermost cells."""
    inner = maps.new_ones(maps.shape[2:])
    inner[1:-1, 1:-1] = 0
    return inner.flatten()


def pair_quality(maps: Tensor, others: Tensor, shares: Tensor, other_shares: Tensor) -> Tensor:
    """cos of the foregrounds - cos of the backgrounds of two views (GenView, Li et al., ECCV 2024).

    High where both show the object, each before a ground of its own.

    Args:
        maps, others: (B, C, H, W) and (B, C, H', W'), features.
        shares, other_shares: (B, H, W) and (B, H', W'), how much of a cell is foreground, in [0, 1].

    Returns:
        (B,), in [-2, 2].
    """
    views = [
        (full_precision(x).flatten(2), s.flatten(1)) for x, s in ((maps, shares), (others, other_shares))
    ]
    with torch.autocast(maps.device.type, enabled=False):

        def cosine(background: bool) -> Tensor:
            first, second = (
                unit((x * (1 - s if background else s).to(x.dtype)[:, None]).sum(2), 1) for x, s in views
            )
            return (first * second).sum(1)

        return cosine(False) - cosine(True)


def quality_weights(quality: Tensor, gamma: float = 1.0) -> Tensor:
    """``exp(gamma q) / sum exp(gamma q) * B`` over the B images of all processes; (B,), without gradient.

    Their mean is 1, so that the size of the loss stays (GenView, official code).
    """
    raw = (gamma * quality.detach()).exp()
    return raw / all_reduce(raw.sum()) * (len(raw) * world_size())


@MODELS.register_module()
class PairQuality(nn.Module):
    """Weights by the quality of a pair, from the features that the target branch has of both views (GenView).

    Args:
        gamma: see :func:`quality_weights`; 1 in GenView, 0 makes all weights 1.
        level: of the backbone or neck.
    """

    def __init__(self, gamma: float = 1.0, level: int = -1) -> None:
        super().__init__()
        self.gamma, self.level = gamma, level

    @torch.no_grad()
    def forward(self, query: tuple[Tensor, ...], key: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """(B,), of the levels (B, C, H, W) of both views."""
        maps, others = query[self.level].detach(), key[self.level].detach()
        return quality_weights(pair_quality(maps, others, *foreground(maps, others)), self.gamma)


@MODELS.register_module()
class GivenQuality(nn.Module):
    """The same, from the scores of the data set's generated images (``PretrainDataset(generated=...)``).

    Args:
        gamma: see :func:`quality_weights`.
    """

    def __init__(self, gamma: float = 1.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, query, key, batch: Batch) -> Tensor:
        """(B,); an image without a score has the quality 0."""
        if batch.scores is None:
            raise ValueError(
                "pair_weight='GivenQuality': the batch has no scores; give them in the list of "
                'train_dataloader.dataset.generated, or take PairQuality'
            )
        return quality_weights(batch.scores.nan_to_num(0.0), self.gamma)
