"""The centres of a target's visual words, from the features of images."""

from collections.abc import Iterable

import torch
from torch import Tensor

from densecl.models.targets import KMeansTokens
from densecl.numerics import unit
from densecl.transfer import load_backbone
from densecl.transfer.start import Start

from .clustering import kmeans


def use_start(target: KMeansTokens, start: Start) -> None:
    """Fill the frozen network of ``target`` with these weights, and note how their images are normalised.

    Raises:
        RuntimeError: the weights are another network's.
    """
    load_backbone(target.backbone, start.export())
    for name in ('mean', 'std'):
        getattr(target, name).copy_(torch.tensor(getattr(start, name)).view(3, 1, 1))


@torch.no_grad()
def fill_centres(
    target: KMeansTokens, batches: Iterable[Tensor], rows: int = 100_000, seed: int = 0
) -> Tensor:
    """K-means over the cells of images; ``target`` gets its centres.

    Args:
        target: with the weights of its network.
        batches: each (B, 3, H, W), normalised as the target is told.
        rows: cells that count, drawn at random; all where there are fewer.
        seed: of this choice and of the first centres.

    Returns:
        (K,) shares of the cells that have each code.

    Raises:
        ValueError: fewer cells than codes.
    """
    target.eval()
    found = torch.cat(
        [target.features(images).flatten(2).transpose(1, 2).flatten(0, 1) for images in batches]
    )
    generator = torch.Generator().manual_seed(seed)
    found = found[torch.randperm(len(found), generator=generator)[:rows]]
    codes = len(target.centres)
    if len(found) < codes:
        raise ValueError(f'{len(found)} cells for {codes} codes: give more images, or fewer codes')
    target.offset.copy_(found.mean(0))
    centres, ids = kmeans(unit(found - target.offset), codes, generator)
    target.centres.copy_(centres)
    return torch.bincount(ids, minlength=codes) / len(ids)
