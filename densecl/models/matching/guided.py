"""Guided stop-gradient: of the two views of an image, the one that is nearer to another image moves."""

import torch

from densecl.distributed import all_gather
from densecl.numerics import unit
from densecl.registry import MODELS
from densecl.structures import Match

from .rule import Rule


@MODELS.register_module()
class GuidedStopGradient(Rule):
    """The same image answers the view that lies nearest to another image's, and it alone (Lee and Lee, 2023).

    The next image of the batch of all processes is the reference. Of the four distances between the two views
    of the image and the two of the reference the smallest is taken: its view of the image is the query, which
    the prediction moves to the other view, away from the reference. For both directions in ``pairs``, of
    whole images: where both branches share weights, each image counts in one of them, and ``loss_weight=2``
    makes the loss a mean over images. (Of a momentum pair each direction measures its own query's branch: an
    image may count in both, or in none.)

    A batch of one image, which has no reference, is a ``ValueError``.
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
        # Of equal distances one direction alone may count.
        nearer = near[0] >= near[1] if query.view < key.view else near[0] > near[1]
        return Match(torch.zeros_like(batch.numbers)[:, None], valid=nearer[:, None])
