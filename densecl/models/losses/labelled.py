"""Objectives that need class labels, in a mean over the labelled rows of all processes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.distributed import all_reduce, world_size
from densecl.registry import MODELS

from .functional import full_precision
from .samples import Samples


def labels_of(samples: Samples | None, objective: str) -> Tensor:
    """(N,) labels of the queries, -1 where there is none.

    Raises:
        ValueError: the batch has no labels at all.
    """
    if samples is None or samples.labels is None:
        raise ValueError(
            f'{objective} needs labels, and the images have none: take a source that has them, such as '
            "train_dataloader.dataset.source=dict(type='ImageNet') for one folder a class"
        )
    return samples.of_queries(samples.labels)


def check_classes(labels: Tensor, classes: int, objective: str) -> None:
    """Raise where a label has no class; on a GPU the indexing itself does, without waiting for it."""
    if labels.device.type == 'cpu' and len(labels) and int(labels.max()) >= classes:
        raise ValueError(
            f'{objective}: label {int(labels.max())} does not fit classes={classes}; set classes to the '
            'number of class folders'
        )


def labelled_mean(terms: Tensor, labelled: Tensor) -> Tensor:
    """Mean of (N,) terms over the labelled rows of all processes; 0 where nothing is labelled.

    The mean of what the processes return, and of its gradients, is that of one process with all rows,
    however unevenly the labelled ones are spread.
    """
    count = all_reduce(labelled.sum().to(terms.dtype))
    return torch.where(labelled, terms, 0.0).sum() * world_size() / count.clamp(min=1)


def own_mean(values: Tensor, labelled: Tensor) -> Tensor:
    """Mean of (N,) values over this process's labelled rows, for the log."""
    return torch.where(labelled, values, 0.0).sum() / labelled.sum().clamp(min=1)


@MODELS.register_module()
class LabelCrossEntropy(nn.Module):
    """Cross-entropy of class logits, mean over the labelled rows of all processes."""

    def forward(
        self,
        query: Tensor,
        positive: Tensor | None = None,
        new_keys: Tensor | None = None,
        samples: Samples | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Score (N, classes) logits against the samples' labels; -1 is skipped.

        Returns:
            The scalar loss, and ``accuracy``, the share of labelled rows whose class has the largest logit.
        """
        labels = labels_of(samples, 'LabelCrossEntropy')
        check_classes(labels, query.shape[1], 'LabelCrossEntropy')
        with torch.autocast(query.device.type, enabled=False):
            terms = F.cross_entropy(full_precision(query), labels, ignore_index=-1, reduction='none')
            loss = labelled_mean(terms, labels >= 0)
        hits = (query.detach().argmax(1) == labels).to(terms.dtype)
        return loss, {'accuracy': own_mean(hits, labels >= 0)}
