"""Run by test_windows_of_two_processes.py: ReSim, with and without gathering.

Batch statistics are left out (no norm anywhere): only then can half batches equal the whole one.
"""

import torch
from torch import nn

from densecl.datasets.transforms.drawn import Crop, DrawnView
from densecl.datasets.transforms.sliding_windows import SlidingWindows
from densecl.models.losses import kernel
from densecl.models.pretrainers import MomentumPretrainer
from densecl.registry import MODELS
from densecl.structures import ViewRegions, Views
from densecl.structures.views import stack
from tests.distributed.steps import own, trained
from tests.models.heads.made import views_of

BATCH, STEPS, SIDE = 4, 3, 64
WINDOWS = dict(p4=SlidingWindows(window=24, stride=16), p3=SlidingWindows(window=16, stride=12))


@MODELS.register_module()
class Stages(nn.Module):
    """A backbone without batch statistics: cells of 4, 8 and 16 px."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            nn.Conv2d(a, b, k, stride=k) for a, b, k in ((3, 6, 4), (6, 7, 2), (7, 8, 2))
        )

    def forward(self, x):
        levels = []
        for step in self.steps:
            x = step(x).tanh()
            levels.append(x)
        return tuple(levels)


def share(step: int) -> Views:
    """This process's images. In step 1 the views of images 2 and 3, the second process's, do not overlap."""
    generator = torch.Generator().manual_seed(step)
    corner = torch.rand(2, BATCH, 2, generator=generator) * 20
    if step == 1:
        corner[1, 2:] += 200
    images = torch.randn(2, BATCH, 3, SIDE, SIDE, dtype=torch.float64, generator=generator)
    flipped = torch.rand(2, BATCH, generator=generator) < 0.5
    boxes = [torch.cat([c, c + 50 + 10 * v], 1) for v, c in enumerate(corner)]
    mine = own(BATCH)
    return views_of(
        images[:, mine],
        boxes=[x[mine] for x in boxes],
        flipped=flipped[:, mine],
        indices=torch.arange(BATCH)[mine],
        regions={name: windows(selector, boxes, flipped, mine) for name, selector in WINDOWS.items()},
    )


def windows(selector: SlidingWindows, boxes, flipped, mine: slice) -> list[ViewRegions]:
    """What the data worker finds in both views of this process's images."""
    found = []
    for image in range(BATCH)[mine]:
        drawn = [
            DrawnView(Crop(tuple(b[image].tolist()), (SIDE, SIDE), bool(f[image])))
            for b, f in zip(boxes, flipped, strict=True)
        ]
        found.append(selector.choose({}, drawn))
    return stack(found)


def build(gathered: bool) -> MomentumPretrainer:
    torch.manual_seed(0)

    def head_of(name: str, level: int, overlapping: bool) -> dict:
        """A head of ReSim."""
        how = dict(temperature=0.3, queue=0, batch='others', mean='counted')
        return dict(
            units=dict(type='densecl.Windows', regions=name, level=level),
            objective=dict(type='densecl.InfoNCE', gathered=gathered, overlapping=overlapping, **how),
        )

    model = MomentumPretrainer(
        backbone=dict(type='densecl.Stages'),
        neck=dict(type='densecl.PartialFPN', in_channels=(6, 7, 8), out_channels=5, levels=(0, 1)),
        heads=dict(
            p4=head_of('p4', level=1, overlapping=False),
            p3=head_of('p3', level=0, overlapping=True),
        ),
        momentum=0.9,
    )
    model.init_weights()
    return model.double().train()


def train(gathered: bool) -> dict:
    """What :func:`trained` finds, and the windows of each process that overlap."""
    return trained(build(gathered), share, STEPS, lr=0.1, local=('p4_matched',))


def everything() -> dict:
    """What :func:`train` finds: places gathered, sent around a ring, or left where they are (official P3)."""
    found = dict(gathered=train(gathered=True), official=train(gathered=False))
    above, kernel.RING_ABOVE_BYTES = kernel.RING_ABOVE_BYTES, 0
    try:
        return dict(found, ring=train(gathered=True))
    finally:
        kernel.RING_ABOVE_BYTES = above
