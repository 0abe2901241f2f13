"""Linear probe of whole images or boxes: logistic regression on frozen features."""

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.enable_grad()
def linear_predict(queries: Tensor, bank: Tensor, labels: Tensor, decay: float = 1e-2) -> Tensor:
    """Predict classes by multinomial logistic regression on the bank, fitted to its optimum.

    Channels are standardised with the bank's mean and standard deviation. The loss is the mean cross entropy
    plus ``decay`` / 2 times the sum of squared weights (without biases). L-BFGS minimises it in float64, so
    there is no seed and no learning rate.

    Args:
        queries: (N, C).
        bank: (M, C), the features with known classes, on the same device.
        labels: (M,) int64, their classes, from 0.
        decay: weight decay, above 0.

    Returns:
        (N,) int64, the predicted classes.

    Raises:
        ValueError: the shapes do not fit, or ``decay`` is not above 0.
    """
    if queries.ndim != 2 or bank.ndim != 2 or queries.shape[1] != bank.shape[1]:
        raise ValueError(
            f'queries and bank must be (N, C) and (M, C), got {tuple(queries.shape)} and {tuple(bank.shape)}'
        )
    if labels.shape != bank.shape[:1] or not len(labels) or not decay > 0:
        raise ValueError(
            f'labels must be {len(bank)} classes, one a row of the bank, and decay above 0, got '
            f'shape {tuple(labels.shape)}, decay {decay}'
        )
    rows, labels = bank.detach().double(), labels.to(bank.device)
    mean, deviation = rows.mean(0), rows.std(0, unbiased=False) + 1e-5
    rows = (rows - mean) / deviation
    weight = rows.new_zeros(int(labels.max()) + 1, rows.shape[1], requires_grad=True)
    bias = rows.new_zeros(len(weight), requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=500, tolerance_grad=1e-6, line_search_fn='strong_wolfe'
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(F.linear(rows, weight, bias), labels) + decay / 2 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return F.linear((queries.double() - mean) / deviation, weight.detach(), bias.detach()).argmax(1)
