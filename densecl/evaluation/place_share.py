"""Measures how much of what cells say is where they are in the image."""

from torch import Tensor

from densecl.numerics import full_precision


def place_share(maps: Tensor) -> Tensor:
    """The share of the cells' variance that their place in the image explains, whatever the image shows.

    It is the variance of the places' means over the total, summed over channels, without bias: means of N
    images differ by chance, too, by 1 / N of the variance within places, which is subtracted. About 0:
    a place says nothing, 1: nothing but the place is said. Zero padding tells a network its places. Images
    of streets are alike in their layout, so compare weights on the same images.

    Args:
        maps: (N, C, h, w), N >= 2 images. The share is NaN where all cells are equal.
    """
    maps = full_precision(maps)
    means = maps.mean(0)
    within = (maps - means).square().mean((0, 2, 3)).sum() * (len(maps) / (len(maps) - 1))
    between = (means - means.mean((1, 2), keepdim=True)).square().mean((1, 2)).sum() - within / len(maps)
    return between / (between + within)
