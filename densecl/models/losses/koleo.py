"""The KoLeo loss: it spreads the vectors of images evenly over the sphere."""

import torch
from torch import Tensor

from densecl.numerics import full_precision, no_autocast, shortest, unit
from densecl.registry import MODELS
from densecl.structures import Units

from .objective import Objective

#: Added to lengths, to each coordinate of a difference, and to distances, as in facebookresearch/dinov2.
EPS = 1e-8


@no_autocast
def nearest_distances(x: Tensor) -> Tensor:
    """Euclidean distance of each unit vector to the nearest other one, (..., N, D) -> (..., N), N >= 2.

    Pairs nearer than ``numerics.SHORTEST`` (in float16 ``SHORTEST_HALF``) get no gradient. The gradient grows
    as 1 / distance, and for equal vectors only ``EPS`` would determine its direction.
    """
    limit, x = shortest(x), unit(x, eps=EPS)
    with torch.no_grad():
        cosines = x @ x.mT
        cosines.diagonal(dim1=-2, dim2=-1).fill_(-torch.inf)
        nearest = cosines.argmax(-1, keepdim=True)
    difference = x - x.gather(-2, nearest.expand_as(x)) + EPS
    near = torch.linalg.vector_norm(difference.detach(), dim=-1, keepdim=True) < limit
    return torch.linalg.vector_norm(torch.where(near, difference.detach(), difference), dim=-1)


def koleo(x: Tensor) -> Tensor:
    """``-mean_i log(min_j |x_i - x_j|)`` of vectors (N, D), normalised here, or of groups of them (G, N, D).

    This is the Kozachenko-Leonenko estimator of differential entropy, as Sablayrolles et al. (2019, eq. 4)
    and DINOv2 use it. With fewer than two vectors it is 0, with zero gradient.
    """
    if x.shape[-2] < 2:
        return full_precision(x[..., :0]).sum()
    return -(nearest_distances(x) + EPS).log().mean()


@MODELS.register_module()
class KoLeo(Objective):
    """Pushes every image from its nearest neighbour in the batch (DINOv2, Oquab et al., 2023).

    It uses only the pooled vectors (``Units.pooled``) of the query view. It needs no key, so a pair is a view
    with itself. DINOv2 sums the values of both global crops, times 0.1, on the class token of the backbone
    without projection::

        koleo=dict(units='Image', objective='KoLeo', pairs=((0, 0), (1, 1)), loss_weight=0.2)

    Neighbours are searched in this process only, as in the official code: the value depends on the number of
    images of a process.

    Args:
        group: neighbours are searched in groups of this many images, in the order of the batch (16 in
            DINOv3's 7B). It must divide the batch of a process. None: among all images of the process.
    """

    needs = frozenset({'always'})
    needs_keys = False

    def __init__(self, group: int | None = None) -> None:
        super().__init__()
        if group is not None and group < 2:
            raise ValueError(f'KoLeo: group must be 2 images or more, or None; got {group}')
        self.group = group

    def score(self, comparison):
        x = _of_images(comparison.query)
        if self.group is not None:
            if len(x) % self.group:
                raise ValueError(
                    f'KoLeo: group={self.group} does not divide the {len(x)} images of a process; change '
                    'group or train_dataloader.batch_size'
                )
            x = x.unflatten(0, (-1, self.group))
        return koleo(x), {}


def _of_images(units: Units) -> Tensor:
    """The pooled vector of each image on the query's side, (B, D)."""
    pooled = units.pooled_compared
    return units.compared.mean(1) if pooled is None else pooled
