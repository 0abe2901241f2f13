"""Heads, branches and views of small size, for tests of heads."""

import torch

from densecl.models.pretrainers.levels import Levels
from densecl.registry import MODELS
from densecl.structures import Batch, ViewRegions, Views

CHANNELS, DIM, SIDE, GRID = 6, 5, 24, 3


class Fixed:
    """A branch whose levels are given: ``branch[view]`` are these levels."""

    def __init__(self, *levels, gradient=True, joint=False):
        self.levels = [level if isinstance(level, tuple) else (level,) for level in levels]
        self.gradient, self.joint = gradient and torch.is_grad_enabled(), joint

    def __getitem__(self, view):
        return Levels(self.levels[view])

    def without_gradient(self):
        """The same levels, of which nothing is to learn."""
        return Fixed(*self.levels, gradient=False)


def build(units='Image', objective='Cosine', matching='SameRow', **kwargs):
    """A head of the densecl scope, in float64."""
    parts = dict(units=units, objective=objective, matching=matching)
    return MODELS.build(dict(type='densecl.Head', **parts, **kwargs)).double()


def make_views(batch=3, count=2, side=SIDE, labels=None, seed=0):
    """Views of overlapping crops, some mirrored, with regions of every kind."""
    generator = torch.Generator().manual_seed(seed)
    near = torch.randint(0, 20, (count, batch, 2), generator=generator).float()
    return Views(
        images=list(torch.randn(count, batch, 3, side, side, generator=generator).double()),
        boxes=list(torch.cat([near, near + 60], -1)),
        flipped=list(torch.rand(count, batch, generator=generator) < 0.5),
        source_sizes=torch.full((batch, 2), 100.0),
        indices=torch.arange(batch),
        paths=[''] * batch,
        photometric=[None] * count,
        labels=labels,
        regions={
            name: [regions(batch, name, generator) for _ in range(count)]
            for name in ('objects', 'windows', 'masks')
        },
    )


def views_of(images, boxes=None, flipped=None, regions=None, indices=None, **more):
    """Views of these images: by default upright crops of one place, of the images 0, 1, ...

    ``regions`` is name -> one :class:`ViewRegions` (or None) a view; ``more`` are other fields.
    """
    batch = len(images[0])
    return Views(
        images=list(images),
        boxes=[torch.tensor([[0.0, 0, 100, 100]] * batch)] * len(images) if boxes is None else boxes,
        flipped=[torch.zeros(batch, dtype=torch.bool)] * len(images) if flipped is None else flipped,
        source_sizes=torch.full((batch, 2), 300.0),
        indices=torch.arange(batch) if indices is None else indices,
        paths=[''] * batch,
        photometric=[None] * len(images),
        regions=regions or {},
        **more,
    )


def regions(batch, name, generator, count=4):
    """Boxes of positive area; an id twice, and one that is not there."""
    near = torch.rand(batch, count, 2, generator=generator) * SIDE / 2
    far = near + 4 + torch.rand(batch, count, 2, generator=generator) * (SIDE / 2 - 4)
    ids = torch.tensor([[0, 1, 1, 2]]).repeat(batch, 1)
    if name == 'windows':
        ids = torch.arange(count).repeat(batch, 1)
    if name != 'masks':
        ids[0, 3] = -1
    masks = torch.rand(batch, count, GRID, GRID, generator=generator) < 0.5 if name == 'masks' else None
    return ViewRegions(torch.cat([near, far], -1), ids, None if masks is None else masks.float())


def maps(count=2, batch=3, channels=CHANNELS, seed=1):
    """One level for each of ``count`` views, float64, with gradient."""
    generator = torch.Generator().manual_seed(seed)
    shape = batch, channels, GRID, GRID
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(count)
    ]


def score(head, levels, views, target=None, labels=None):
    """The result of a head on given levels; ``target`` projects a momentum branch, None: shared."""
    online = Fixed(*levels)
    batch = Batch.of(views)
    if target is None:
        return head.loss(online, online, views, batch, head.projector)
    return head.loss(online, Fixed(*levels, gradient=False), views, batch, target)


def step(head, levels, views, target=None):
    """Score, then remember, as a pretrainer does in training."""
    result = score(head, levels, views, target)
    if head.training:
        head.remember(result.keys, Batch.of(views))
    return result
