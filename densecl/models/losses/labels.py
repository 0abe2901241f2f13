"""Objectives that need class labels. Their mean is over the labelled units of all processes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.numerics import full_precision, unit
from densecl.registry import MODELS
from densecl.structures import Comparison

from .objective import Objective, mean_of, own_mean


def classes_of(comparison: Comparison, classes: int, objective: str) -> Tensor:
    """The labels of the query units, (B, N), -1 if unknown.

    Raises:
        ValueError: there are no labels, or a label is not below ``classes``. The second is checked on the CPU
            only; on a GPU the indexing itself fails.
    """
    labels = comparison.batch.labels
    if labels is None:
        raise ValueError(
            f'{objective} needs labels, and the images have none: take a source that has them, such as '
            "train_dataloader.dataset.source=dict(type='ImageNet') for one folder a class"
        )
    here = labels.device.type == 'cpu' and type(labels) is Tensor  # fake tensors have no values
    if here and len(labels) and int(labels.max()) >= classes:
        raise ValueError(
            f'{objective}: label {int(labels.max())} does not fit classes={classes}; set classes to the '
            'number of class folders'
        )
    return labels[:, None].expand(-1, comparison.query.compared.shape[1])


@MODELS.register_module()
class LabelCrossEntropy(Objective):
    """Cross-entropy of class logits; a ValueError if there are no labels, or a label has no logit."""

    needs_keys = False

    def score(self, comparison):
        """The loss, and ``accuracy``, the share of labelled units whose class has the largest logit."""
        logits = full_precision(comparison.query.compared)
        labels = classes_of(comparison, logits.shape[-1], 'LabelCrossEntropy')
        terms = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=-1, reduction='none')
        hits = (logits.detach().argmax(-1) == labels).to(terms.dtype)
        valid = comparison.query.valid
        labelled = labels >= 0 if valid is None else (labels >= 0) & valid
        return mean_of(terms, labelled, 'counted'), {'accuracy': own_mean(hits, labelled)}


def orthonormal_prototypes(classes: int, dim: int, generator: torch.Generator) -> Tensor:
    """Orthonormal rows, (classes, dim) float32: right singular vectors of a random normal matrix (CLOP).

    Every process must draw the same matrix. A ValueError if there are more classes than dimensions.
    """
    if classes > dim:
        raise ValueError(
            f'{classes} orthonormal prototypes need at least {classes} dimensions, got {dim}: '
            'make the projector wider'
        )
    shape = (classes, dim)
    matrix = torch.randn(shape, dtype=torch.float64, generator=generator, device=generator.device)
    return torch.linalg.svd(matrix, full_matrices=False).Vh.float()


@MODELS.register_module()
class PrototypeAlignment(Objective):
    """``1 - (cos(z, a_y) + cos(z', a_y)) / 2``: pulls both views to the anchor of their class (CLOP, Li et
    al., 2024). :class:`Sum` adds it to a contrastive objective.

    There are ``classes`` anchors, at most ``dim``, the width of the embeddings. They are orthonormal and not
    trained. They depend on ``seed``, so all processes have the same anchors, and are saved in checkpoints. A
    ValueError if there are no labels, or a label has no anchor.
    """

    needs = frozenset({'one answer'})

    def __init__(self, classes: int, dim: int = 128, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer('anchors', orthonormal_prototypes(classes, dim, generator))

    def score(self, comparison):
        """The loss, in [0, 2], and ``anchor_sim``, the mean cosine with the anchor of the class."""
        match = comparison.match
        labels = classes_of(comparison, len(self.anchors), 'PrototypeAlignment')
        query = unit(comparison.query.compared)
        anchors = unit(self.anchors.to(query.dtype))[labels.clamp(min=0)]
        answers = match.sum_of(unit(comparison.key.vectors))
        cosine = ((query + answers) * anchors).sum(-1) / 2
        counted = (labels >= 0) & match.found()
        return mean_of(1 - cosine, counted, 'counted'), {'anchor_sim': own_mean(cosine.detach(), counted)}
