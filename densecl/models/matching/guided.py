"""Guided stop-gradient: only the view that is nearer to another image gets a gradient."""

import torch

from densecl.distributed import all_gather
from densecl.numerics import unit
from densecl.registry import MODELS
from densecl.structures import Match

from .rule import Rule


@MODELS.register_module()
class GuidedStopGradient(Rule):
    """The same image answers, but only for the view that is nearer to another image (Lee and Lee, 2023).

    The other image, the reference, is the next one in the batch of all processes. Of the four distances
    between the image's two views and those of the reference, the smallest decides: its view of the image is
    the query. The loss then moves this view to the other view, away from the reference.

    Use it for whole images, with both directions in ``pairs``. If both branches share weights, each image
    counts in exactly one direction, and ``loss_weight=2`` makes the loss a mean over images. In a momentum
    pair, each direction measures distances in its own query's branch: an image may count in both directions,
    or in none.

    A batch of one image has no reference and is a ``ValueError``.
    """

    needs = frozenset({'single'})
    one_answer = True
    combines = False

    def forward(self, query, key, batch):
        mine, other = unit(query.vectors[:, 0]), unit(key.vectors[:, 0])
        every = all_gather(torch.stack([mine, other], 1))  # (A, 2, D), of all processes
        if len(every) < 2:
            raise ValueError(
                'GuidedStopGradient: the reference is another image of the batch, which has one; raise '
                'train_dataloader.batch_size'
            )
        reference = every[(batch.numbers + 1) % len(every)]
        near = [(side[:, None] * reference).sum(-1).amax(1) for side in (mine, other)]
        # If the distances are equal, only one direction may count.
        nearer = near[0] >= near[1] if query.view < key.view else near[0] > near[1]
        return Match(torch.zeros_like(batch.numbers)[:, None], valid=nearer[:, None])
