"""Images spread over the sphere, as far from each other as they can (KoLeo)."""

import torch
from torch import Tensor

from densecl.numerics import full_precision, no_autocast, shortest, unit
from densecl.registry import MODELS
from densecl.structures import Units

from .objective import Objective

#: Added to lengths, to every coordinate of a difference, and to distances (facebookresearch/dinov2).
EPS = 1e-8


@no_autocast
def nearest_distances(x: Tensor) -> Tensor:
    """Euclidean distance of each unit vector to the nearest other one, (..., N, D) -> (..., N), N >= 2.

    Pairs nearer than ``numerics.SHORTEST``, in float16 ``SHORTEST_HALF``, are cut off from the gradient: it
    grows as 1 / distance, and of equal vectors ``EPS`` alone would give its direction.
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
    """``-mean_i log(min_j |x_i - x_j|)`` of unit vectors made of (N, D), or of groups of them, (G, N, D).

    The differential entropy's estimate by Kozachenko and Leonenko, as Sablayrolles et al. (2019, eq. 4) and
    DINOv2 take it. With fewer than two vectors it is 0, with zero gradient.
    """
    if x.shape[-2] < 2:
        return full_precision(x[..., :0]).sum()
    return -(nearest_distances(x) + EPS).log().mean()


@MODELS.register_module()
class KoLeo(Objective):
    """Every image keeps away from its nearest neighbour in the batch (DINOv2, Oquab et al., 2023).

    It looks at the vector that stands for an image (``Units.pooled``) of the query view alone; it needs no
    key, so that a pair is a view with itself. DINOv2 adds up both global crops' values, times 0.1, on the
    class token as the backbone gives it::

        koleo=dict(units='Image', objective='KoLeo', pairs=((0, 0), (1, 1)), loss_weight=0.2)

    Neighbours are those of this process, as in the official code: the value depends on how many images a
    process has.

    Args:
        group: neighbours are searched among so many images, in the order of the batch (16 in DINOv3's 7B);
            the batch of a process must be a multiple of it. None: among all of the process.
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
    """(B, D), what stands for each image on the query's side."""
    pooled = units.pooled if units.pooled_predicted is None else units.pooled_predicted
    return units.compared.mean(1) if pooled is None else pooled
