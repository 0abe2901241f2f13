"""The weight of each image's pair of views in the loss."""

import torch
from torch import Tensor, nn

from densecl.distributed import all_gather, all_reduce, world_size
from densecl.numerics import full_precision, unit
from densecl.registry import MODELS
from densecl.structures import Batch

_STEPS = 16  # of the power iteration


def foreground(maps: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Find the object in two views of an image, from features (B, C, H, W) and (B, C, H', W').

    The first principal component of the cells of both views separates the object from the background. Its
    sign is chosen so that the border of the views is background. Both maps together are scaled to [0, 1].

    Returns:
        (B, H, W) and (B, H', W'), the share of each cell that is foreground, without gradient.
    """
    maps, others = full_precision(maps.detach()), full_precision(others.detach())
    with torch.autocast(maps.device.type, enabled=False):
        cells = torch.cat([maps.flatten(2), others.flatten(2)], 2).mT  # (B, N + M, C)
        cells = cells - cells.mean(1, keepdim=True)
        # Start at the cell farthest from the mean: if cells differ, it is not orthogonal to the direction.
        start = cells.square().sum(2).argmax(1)
        direction = cells.gather(1, start[:, None, None].expand(-1, 1, cells.shape[2])).mT  # (B, C, 1)
        for _ in range(_STEPS):
            direction = cells.mT @ (cells @ unit(direction, 1))
        along = (cells @ unit(direction, 1))[..., 0]
    border = torch.cat([_border(maps), _border(others)])
    outside = (along * border).sum(1, keepdim=True) / border.sum()
    along = torch.where(outside > 0, -along, along)  # the mean of all cells is 0
    low, high = along.amin(1, keepdim=True), along.amax(1, keepdim=True)
    along = (along - low) / (high - low).clamp(min=torch.finfo(along.dtype).eps)
    first, second = along.split([maps[0, 0].numel(), others[0, 0].numel()], 1)
    return first.unflatten(1, maps.shape[2:]), second.unflatten(1, others.shape[2:])


def _border(maps: Tensor) -> Tensor:
    """(H*W,), 1 for the outermost cells, 0 for the others."""
    inner = maps.new_ones(maps.shape[2:])
    inner[1:-1, 1:-1] = 0
    return inner.flatten()


def pair_quality(maps: Tensor, others: Tensor, shares: Tensor, other_shares: Tensor) -> Tensor:
    """Cosine similarity of two views' foregrounds minus that of their backgrounds (GenView, Li et al., ECCV
    2024).

    It is high if both views show the same object on different backgrounds.

    Args:
        maps, others: (B, C, H, W) and (B, C, H', W'), features.
        shares, other_shares: (B, H, W) and (B, H', W'), the share of each cell that is foreground, in [0, 1].

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
    """``exp(gamma q) / sum exp(gamma q) * n`` over the n images of all processes; (B,), without gradient.

    The mean of the weights is 1, so that they keep the scale of the loss (GenView, official code).
    """
    exponents = gamma * quality.detach()
    raw = (exponents - all_gather(exponents.amax()[None]).amax()).exp()
    return raw / all_reduce(raw.sum()) * (len(raw) * world_size())


@MODELS.register_module()
class PairQuality(nn.Module):
    """Weights by the quality of a pair, from the target branch's features of both views (GenView).

    Args:
        gamma: see :func:`quality_weights`; 1 in GenView, 0 makes all weights 1.
        level: which level of the backbone or neck is read.
    """

    def __init__(self, gamma: float = 1.0, level: int = -1) -> None:
        super().__init__()
        self.gamma, self.level = gamma, level

    @torch.no_grad()
    def forward(self, query: tuple[Tensor, ...], key: tuple[Tensor, ...], batch: Batch) -> Tensor:
        """The weights (B,), from the levels (B, C, H, W) of both views."""
        maps, others = query[self.level].detach(), key[self.level].detach()
        return quality_weights(pair_quality(maps, others, *foreground(maps, others)), self.gamma)


@MODELS.register_module()
class GivenQuality(nn.Module):
    """Weights by the scores of the data set's generated images (``PretrainDataset(generated=...)``).

    Args:
        gamma: see :func:`quality_weights`.
    """

    def __init__(self, gamma: float = 1.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, query, key, batch: Batch) -> Tensor:
        """The weights (B,); an image without a score has the quality 0."""
        if batch.scores is None:
            raise ValueError(
                "pair_weight='GivenQuality': the batch has no scores; give them in the list of "
                'train_dataloader.dataset.generated, or take PairQuality'
            )
        return quality_weights(batch.scores.nan_to_num(0.0), self.gamma)
