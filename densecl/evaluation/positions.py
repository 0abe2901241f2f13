"""How well a linear function reads off a cell where it lies."""

import torch
from torch import Tensor


@torch.no_grad()
def position_fit(train: Tensor, test: Tensor, ridge: float = 1e-4) -> tuple[float, float]:
    """R^2 of row and column, predicted by ridge regression from the features of a cell.

    1: position is known exactly; 0: as well as by its mean; below 0: worse.

    Args:
        train: (N, C, h, w) maps by which the function is found.
        test: (M, C, h, w) maps of other images, which are judged.
        ridge: added to the variances of channels, which are 1.

    Raises:
        ValueError: the maps have another grid, or one of fewer than 2 x 2 cells.
    """
    if train.shape[1:] != test.shape[1:] or min(train.shape[2:]) < 2:
        raise ValueError(
            'position_fit: train and test must be maps of one grid of 2 x 2 cells or more, got '
            f'{tuple(train.shape)} and {tuple(test.shape)}'
        )
    x, y = (maps.double().permute(0, 2, 3, 1).flatten(0, 2) for maps in (train, test))
    mean, std = x.mean(0), x.std(0)
    std = torch.where(std > 1e-9 * std.max(), std, torch.inf)  # what does not vary says nothing
    x, y = (x - mean) / std, (y - mean) / std
    grid = [torch.linspace(-1, 1, n, dtype=torch.float64, device=x.device) for n in train.shape[2:]]
    places = torch.stack(torch.meshgrid(*grid, indexing='ij'), -1).flatten(0, 1)
    wanted, truth = (places.repeat(len(maps), 1) for maps in (train, test))
    covariance = x.mT @ x / len(x)
    identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(covariance + ridge * identity, x.mT @ wanted / len(x))
    error = (y @ weights - truth).square().sum(0)
    return tuple((1 - error / truth.square().sum(0)).tolist())
