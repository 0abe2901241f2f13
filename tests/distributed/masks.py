"""Run by test_masks_of_two_processes.py: DetCon-B and DetCon-S.

Batch statistics are left out (no norm anywhere): only then can half batches equal the whole one. The second
step sends the keys around the ring of processes. In the third, no view of the first three images, which are
the first process's, shows a mask of the other.
"""

from unittest.mock import patch

import torch
from torch import nn

from densecl.models.losses import kernel
from densecl.models.pretrainers import MomentumPretrainer, SharedPretrainer
from densecl.registry import MODELS
from densecl.structures import ViewRegions, Views
from tests.distributed.steps import own, trained
from tests.models.heads.made import views_of

BATCH, MASKS, GRID, STEPS = 6, 5, 4, 3


@MODELS.register_module(name='MaskCells')
class Cellwise(nn.Module):
    """A backbone without batch statistics: a cell for each 8 x 8 px."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 8, stride=8)

    def forward(self, x):
        return self.conv(x).tanh()


def views(step: int) -> Views:
    """This process's part of the batch."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(2, BATCH, 3, 32, 32, dtype=torch.float64, generator=generator)
    owners = torch.randint(0, 7, (2, BATCH, 1, GRID, GRID), generator=generator)
    ids = owners.flatten(2)[:, :, :MASKS]
    masks = (owners == ids[..., None, None]).double()
    if step == 2:
        ids = ids.clone()
        ids[1, :3] += 100
    mine = own(BATCH)
    boxes = torch.zeros(BATCH, MASKS, 4)[mine]
    regions = [ViewRegions(boxes, ids[v, mine], masks[v, mine]) for v in (0, 1)]
    return views_of(images[:, mine], regions=dict(masks=regions))


def build(method: str):
    torch.manual_seed(0)
    head = dict(
        units='densecl.Masks',
        matching=dict(type='densecl.SameId', share_repeats=True),
        projector=dict(type='densecl.MLP', channels=(12, 9, 5)),
        objective=dict(type='densecl.InfoNCE', temperature=0.1, queue=0, batch='units+own'),
        pairs=((0, 1), (1, 0)),
        loss_weight=2.0,
    )
    if method == 'b':
        head['predictor'] = dict(type='densecl.MLP', channels=(5, 9, 5))
    parts = dict(backbone=dict(type='densecl.MaskCells'), heads=dict(masks=head))
    model = MomentumPretrainer(**parts, momentum=0.9) if method == 'b' else SharedPretrainer(**parts)
    model.init_weights()
    return model.double().train()


def ring(step: int):
    """Where the keys of the second step are sent around the ring."""
    return patch.object(kernel, 'RING_ABOVE_BYTES', 0 if step == 1 else kernel.RING_ABOVE_BYTES)


def everything() -> dict:
    """What :func:`trained` finds, for each method."""
    return {method: trained(build(method), views, STEPS, lr=0.1, during=ring) for method in 'bs'}
