"""How much the features of a cell say about its place in the image."""

import torch
from torch import Tensor

from densecl.models.necks.positions import folded
from densecl.numerics import full_precision


def place_share(maps: Tensor) -> Tensor:
    """The share of the cells' variance that their place in the image explains, whatever the image shows.

    ``between / (between + within)``, summed over channels. ``within`` is the unbiased variance over images
    at a place, ``between`` the variance of the places' means, less the part ``within / N`` that N images
    cause by chance. About 0: the place explains nothing; 1: everything. Zero padding tells a network its
    places. Images of streets are alike in their layout, so compare weights on the same images.

    Args:
        maps: (N, C, h, w), N >= 2 images. The share is NaN where all cells are equal.
    """
    maps = full_precision(maps)
    means = maps.mean(0)
    within = (maps - means).square().mean((0, 2, 3)).sum() * (len(maps) / (len(maps) - 1))
    between = (means - means.mean((1, 2), keepdim=True)).square().mean((1, 2)).sum() - within / len(maps)
    return between / (between + within)


@torch.no_grad()
def position_fit(train: Tensor, test: Tensor, ridge: float = 1e-4) -> tuple[float, float]:
    """R^2 of row and column, predicted by ridge regression from the features of a cell.

    1: exact prediction; 0: as good as the mean position; below 0: worse.

    Args:
        train: (N, C, h, w) maps to fit the function.
        test: (M, C, h, w) maps of other images to score it.
        ridge: added to the variances of channels, which are 1.

    Raises:
        ValueError: the grids of the maps differ, or have fewer than 2 x 2 cells.
    """
    if train.shape[1:] != test.shape[1:] or min(train.shape[2:]) < 2:
        raise ValueError(
            'position_fit: train and test must be maps of one grid of 2 x 2 cells or more, got '
            f'{tuple(train.shape)} and {tuple(test.shape)}'
        )
    x, y = (maps.double().permute(0, 2, 3, 1).flatten(0, 2) for maps in (train, test))
    mean, std = x.mean(0), x.std(0)
    std = torch.where(std > 1e-9 * std.max(), std, torch.inf)  # constant channels become 0
    x, y = (x - mean) / std, (y - mean) / std
    places = _places(train)
    wanted, truth = (places.repeat(len(maps), 1) for maps in (train, test))
    covariance = x.mT @ x / len(x)
    identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(covariance + ridge * identity, x.mT @ wanted / len(x))
    error = (y @ weights - truth).square().sum(0)
    return tuple((1 - error / truth.square().sum(0)).tolist())


@torch.no_grad()
def position_rounds(maps: Tensor, rounds: int = 9, ridge: float = 1e-4) -> list[Tensor]:
    """RASA's rounds, each solved exactly by least squares instead of gradient steps.

    Each round predicts row and column linearly and removes the plane of both functions. The next round is
    fitted to the rest. :func:`~densecl.models.necks.positions.folded` makes one matrix of all rounds.

    Args:
        maps: (N, C, h, w), of images whose objects may be anywhere.
        rounds: number of rounds.
        ridge: added to the variances of the channels, as a share of their mean.

    Returns:
        ``rounds`` times (2, C) float64.
    """
    covariance, towards = _moments(maps)
    found: list[Tensor] = []
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    floor = ridge * covariance.diagonal().mean() * identity
    for _ in range(rounds):
        rest = folded(found) if found else identity
        found.append(torch.linalg.solve(rest @ covariance @ rest.mT + floor, rest @ towards).mT)
    return found


@torch.no_grad()
def without_linear_position(maps: Tensor) -> Tensor:
    """(C, C) float64, a matrix after which no linear function predicts row or column better than their mean.

    Of all such matrices it has the smallest mean squared change of the features (LEACE, Belrose et al.,
    2023): ``I - S^(1/2) U U' S^(-1/2)``. S is the features' covariance. U is an orthonormal basis of
    ``S^(-1/2)`` times their covariance with row and column. Constant channels do not change.

    Args:
        maps: (N, C, h, w).
    """
    covariance, towards = _moments(maps)
    values, vectors = torch.linalg.eigh(covariance)
    varies = values > 1e-8 * values.max()
    root = torch.where(varies, values, 0.0).sqrt()
    inverse = torch.where(varies, values, torch.inf).rsqrt()
    whiten = (vectors * inverse) @ vectors.mT
    basis, sizes, _ = torch.linalg.svd(whiten @ towards, full_matrices=False)
    basis = basis * (sizes > 1e-9 * sizes.max().clamp(min=1e-300))
    identity = torch.eye(len(values), dtype=values.dtype, device=values.device)
    return identity - (vectors * root) @ vectors.mT @ basis @ basis.mT @ whiten


def _places(maps: Tensor) -> Tensor:
    """(h w, 2) float64, row and column of each cell from -1 to 1."""
    grid = [torch.linspace(-1, 1, n, dtype=torch.float64, device=maps.device) for n in maps.shape[2:]]
    return torch.stack(torch.meshgrid(*grid, indexing='ij'), -1).flatten(0, 1)


def _moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """(C, C) covariance of the cells' features, and (C, 2) their covariance with row and column."""
    if min(maps.shape[2:]) < 2:
        raise ValueError(f'maps must have 2 x 2 cells or more, got {tuple(maps.shape)}')
    places, channels = _places(maps), maps.shape[1]
    total = maps.new_zeros(channels, dtype=torch.float64)
    square = maps.new_zeros(channels, channels, dtype=torch.float64)
    towards = maps.new_zeros(channels, 2, dtype=torch.float64)
    for one in maps:
        x = one.double().flatten(1)
        total, square, towards = total + x.sum(1), square + x @ x.mT, towards + x @ places
    count = len(maps) * len(places)
    mean = total / count
    return square / count - mean[:, None] * mean, towards / count  # rows and columns have mean 0
