"""Run by test_detections_of_two_processes.py: AlignDet, without batch statistics.

In the third step no view of the first process's images has a box.
"""

import torch

from densecl.structures import ViewRegions, Views
from tests.distributed.steps import own, trained
from tests.models.heads.made import views_of
from tests.models.heads.units.test_detector_boxes import pretrainer

BATCH, BOXES, SIDE, STEPS = 4, 3, 64, 3


def views(step: int) -> Views:
    """This process's part of the batch."""
    g = torch.Generator().manual_seed(step)
    images = torch.randn(2, BATCH, 3, SIDE, SIDE, dtype=torch.float64, generator=g)
    corner = torch.rand(2, BATCH, BOXES, 2, generator=g) * SIDE * 0.6
    boxes = torch.cat([corner, corner + 8 + torch.rand(2, BATCH, BOXES, 2, generator=g) * SIDE * 0.25], -1)
    ids = torch.arange(BOXES).repeat(BATCH, 1)
    ids[0, 1] = -1  # another number of boxes in each process
    if step == 2:
        ids[: BATCH // 2] = -1
    mine = own(BATCH)
    return views_of(
        images[:, mine],
        boxes=torch.tensor([0.0, 0, SIDE, SIDE]).expand(2, BATCH, 4)[:, mine],
        regions=dict(objects=[ViewRegions(boxes[v, mine], ids[mine]) for v in (0, 1)]),
    )


def everything() -> dict:
    """What :func:`trained` finds."""
    return trained(pretrainer(), views, STEPS, lr=0.1)
