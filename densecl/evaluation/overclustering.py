"""Over-clustering probe: do k-means clusters of the cells follow the classes?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.messages import check_choice
from densecl.numerics import full_precision

from .clustering import kmeans
from .components import principal_components
from .segmentation import IGNORED, class_iou, iou_counts

#: Ways to give clusters a class, see :func:`clustering_miou`.
MATCHINGS = ('hungarian', 'many')
# Leopart's numbers of principal components and of k-means iterations.
_COMPONENTS, _ITERATIONS = 50, 100


@dataclass(frozen=True)
class Clusters:
    """Mean IoU in per cent over all classes, one value per seed; classes missing in the truth count as 0.

    Attributes:
        clusters: K of k-means.
        cells: number of cells that were clustered.
        hungarian: mean IoU if each class has at most one cluster.
        many: mean IoU if each cluster has a class.
    """

    clusters: int
    cells: int
    hungarian: tuple[float, ...]
    many: tuple[float, ...]


@torch.no_grad()
def overclustering(
    maps: Tensor, labels: Tensor, classes: int, clusters: Sequence[int], seeds: Sequence[int] = (0, 1, 2)
) -> list[Clusters]:
    """Cluster all cells and give each cluster a class (Leopart, Ziegler and Asano, 2022, section 4.1).

    As in the published evaluation: channels are standardised (1e-5 is added to the standard deviation) and
    reduced to 50 principal components; k-means has at most 100 iterations; cluster maps are enlarged by
    nearest neighbour. Instead of its five restarts, each seed is reported. The global random state is not
    touched.

    Args:
        maps: (M, C, h, w), of any floating type.
        labels: (M, H, W) uint8 or int64, 255 = ignored.
        classes: number of classes of the labels.
        clusters: the values of K.
        seeds: seeds of k-means.

    Raises:
        ValueError: a K is below 1, or no pixel is labelled.
    """
    if min(clusters) < 1:
        raise ValueError(f'clusters must be 1 or more, got {list(clusters)}')
    rows = full_precision(maps.transpose(0, 1).flatten(1).T)
    rows, found = rows / (rows.std(0, unbiased=False) + 1e-5), []
    rows = principal_components(rows, _COMPONENTS)
    for k in clusters:
        scores = {matching: [] for matching in MATCHINGS}
        for seed in seeds:
            ids = kmeans(rows, k, torch.Generator().manual_seed(seed), _ITERATIONS)[1].cpu()
            ids = ids.view(len(maps), *maps.shape[2:])
            counts = sum(
                _counts(_enlarged(part, label.shape[1:]), label, k, classes)
                for part, label in zip(ids.split(16), labels.cpu().split(16), strict=True)
            )
            for matching, values in scores.items():
                values.append(_matched_miou(counts, matching))
        found.append(Clusters(k, len(rows), **{name: tuple(values) for name, values in scores.items()}))
    return found


def clustering_miou(
    prediction: Tensor, truth: Tensor, clusters: int, classes: int, matching: str = 'hungarian'
) -> float:
    """Mean IoU in per cent of clusters that are given classes by the truth (as in Leopart's evaluation).

    Args:
        prediction: (N,) integers, the cluster of each pixel, below ``clusters``; a tensor or an array.
        truth: (N,) integers, its class, below ``classes``; pixels with 255 are left out.
        clusters: number of clusters.
        classes: number of classes; the mean is over all of them, absent ones count as 0.
        matching: ``'hungarian'``: one to one, with the largest sum of IoU; the other clusters count as class
            0. ``'many'``: each cluster has the class with the largest IoU, the first of equal ones.

    Raises:
        ValueError: an id is out of range, no pixel is labelled, or the matching is not known.
    """
    return _matched_miou(
        _counts(torch.as_tensor(prediction), torch.as_tensor(truth), clusters, classes), matching
    )


def _counts(prediction: Tensor, truth: Tensor, clusters: int, classes: int) -> Tensor:
    """Number of pixels by class and cluster: (classes, clusters) int64."""
    if prediction.shape != truth.shape or prediction.is_floating_point() or truth.is_floating_point():
        raise ValueError(
            f'prediction and truth must be integers of one shape, got {prediction.dtype} '
            f'{tuple(prediction.shape)} and {truth.dtype} {tuple(truth.shape)}'
        )
    prediction, truth = prediction.long().flatten(), truth.long().flatten().to(prediction.device)
    prediction, truth = (ids[truth != IGNORED] for ids in (prediction, truth))
    for name, ids, count in (('prediction', prediction, clusters), ('truth', truth, classes)):
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < count:
            raise ValueError(
                f'{name} must hold ids from 0 to {count - 1}, got {int(ids.min())} to {int(ids.max())}'
            )
    return torch.bincount(truth * clusters + prediction, minlength=classes * clusters).view(classes, clusters)


def _matched_miou(counts: Tensor, matching: str) -> float:
    from scipy.optimize import linear_sum_assignment

    check_choice('matching', matching, MATCHINGS)
    if not counts.any():
        raise ValueError('clusters need labelled pixels to be matched with; all of them are ignored')
    counts = counts.double().cpu()
    iou = counts / (counts.sum(1, keepdim=True) + counts.sum(0) - counts).clamp(min=1)
    class_of = iou.argmax(0)
    if matching == 'hungarian':
        rows, columns = map(torch.from_numpy, linear_sum_assignment(1 - iou.numpy()))
        class_of = torch.zeros_like(class_of).index_copy_(0, columns, rows)
    matched = counts.new_zeros(len(counts), len(counts)).index_add_(1, class_of, counts)
    return class_iou(iou_counts(matched)).nan_to_num(0).mean().item()


def _enlarged(ids: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(ids[:, None].float(), size, mode='nearest-exact')[:, 0].long()
