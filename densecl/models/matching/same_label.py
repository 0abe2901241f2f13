"""All images of one class answer each other (SupCon, SINCERE)."""

import torch

from densecl.registry import MODELS

from .same_row import SameRow


@MODELS.register_module()
class SameLabel(SameRow):
    """The other view of the image, and every candidate whose image has the same label.

    Images without a label (-1) have the first answer only. The candidates are the objective's:
    ``dict(type='InfoNCE', queue=0, batch='views')``.
    """

    across = True

    @torch.no_grad()
    def forward(self, query, key, batch):
        """See :class:`Rule`.

        Raises:
            ValueError: the batch has no labels.
        """
        if batch.labels is None:
            raise ValueError(
                'SameLabel needs labels: take a source that has them, such as '
                "train_dataloader.dataset.source=dict(type='ImageNet')"
            )
        match = super().forward(query, key, batch)
        mine = batch.labels.repeat_interleave(match.index.shape[1])[:, None]

        def across(candidates):
            if candidates.labels is None:
                raise ValueError(
                    'SameLabel: the candidates have no labels; take negatives of the batch '
                    "(objective=dict(type='InfoNCE', queue=0, batch='views'))"
                )
            return lambda columns: (mine == candidates.labels[columns]) & (mine >= 0)

        match.across = across
        return match
