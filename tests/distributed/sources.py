"""Run by test_sources_of_two_processes.py: two steps of InfoNCE among units, from each source of candidates.

What counts is spread unevenly: at first the second process has no image with an answer, and fewer units.
"""

import torch

from densecl.distributed import all_reduce, rank, world_size
from densecl.models.losses import InfoNCE, kernel
from densecl.structures import Batch, Comparison, Match, Place, Units

IMAGES, UNITS, PLACES, DIM = 4, 5, 6, 6

OBJECTIVES = {
    'pixcontrast': dict(batch='image', form='in', mean='counted'),
    'setsim': dict(queue=7, dim=DIM, mean='images'),
    'sets and queue': dict(batch='image', queue=7, dim=DIM, form='in-mean', mean='counted'),
    'detcon': dict(batch='units+own'),
    'aligndet': dict(batch='units+queries', form='apart', mean='weights'),
    'resim': dict(batch='others', mean='counted'),
    'resim, all places': dict(batch='others', mean='counted', overlapping=True),
    'slotcon': dict(batch='units', mean='counted', times_temperature=True),
    'slots': dict(batch='units', mean='counted', decoupled=True, sigma=0.5),
}


def inputs(step: int, own: slice) -> dict[str, torch.Tensor]:
    """This process's part of everything that is drawn."""
    generator = torch.Generator().manual_seed(step)
    drawn = dict(
        vectors=torch.randn(3, IMAGES, UNITS, DIM, generator=generator, dtype=torch.float64),
        others=torch.randn(1, IMAGES, PLACES, DIM, generator=generator, dtype=torch.float64),
        mask=torch.rand(1, IMAGES, UNITS, UNITS, generator=generator) < 0.3,
        active=torch.rand(2, IMAGES, UNITS, generator=generator) < 0.6,
        ids=torch.randint(0, 6, (2, IMAGES, UNITS), generator=generator),
        corner=torch.rand(1, IMAGES, UNITS, 2, generator=generator) * 8,
    )
    drawn['mask'][0, 1, :3] = False
    drawn['mask'][0, 2 if step == 0 else 3 :] = False
    drawn['active'][:, 2:, 2:] = False
    drawn['active'][:, :2, 0] = True
    if step == 0:
        drawn['active'][0, 2:] = False
        drawn['ids'][1, 2:] += 10
    return {name: x[:, own] for name, x in drawn.items()}


def comparison(name: str, step: int, weight: torch.Tensor, own: slice) -> Comparison:
    """The units of one pair of views, as the method has them."""
    x = inputs(step, own)
    query, key, again = x['vectors'] @ weight
    others, batch = x['others'][0] @ weight, Batch.numbered(torch.arange(IMAGES)[own] + 10 * step)
    query, key, again = Units(query), Units(key, pooled=key.mean(1), others=others), Units(again)
    index = torch.arange(UNITS).expand(len(batch.numbers), -1)
    if 'slot' in name:
        query.valid, key.valid = x['active']
        return Comparison(query, key, Match(index=index, valid=query.valid & key.valid), batch)
    if 'resim' in name:
        zeros = torch.zeros(len(index))
        key.place = Place(zeros, zeros, zeros, (16, 16), boxes=torch.cat([x['corner'][0]] * 2, -1))
        key.place.boxes[..., 2:] += 4
        corner = torch.cartesian_prod(torch.tensor([0.0, 4.0, 8.0]), torch.tensor([0.0, 6.0]))
        key.others_boxes = torch.cat([corner, corner + 4], -1)
        return Comparison(query, key, Match(index=index, valid=x['active'][0]), batch)
    if name in ('detcon', 'aligndet'):
        (query.ids, key.ids), again.ids = x['ids'], x['ids'][0]
        same = query.ids[:, :, None] == key.ids[:, None]
        weights = 1 / (query.ids[:, :, None] == query.ids[:, None]).sum(2)
        return Comparison(query, key, Match(mask=same, weight=weights), batch, own=again)
    return Comparison(query, key, Match(mask=x['mask'][0]), batch)


def run(name: str, own: slice) -> dict[str, torch.Tensor]:
    """Losses and gradients of two steps on this process's images, and the state after them."""
    torch.manual_seed(0)  # of the queue
    objective = InfoNCE(**{'temperature': 0.3, 'queue': 0, **OBJECTIVES[name]}).double().train()
    generator = torch.Generator().manual_seed(9)
    weight = torch.randn(DIM, DIM, generator=generator, dtype=torch.float64).requires_grad_()
    found = {}
    for step in range(2):
        c = comparison(name, step, weight, own)
        loss, diagnostics = objective.score(c)
        assert not any(value.requires_grad for value in diagnostics.values())
        objective.remember([c.key], c.batch)
        (gradient,) = torch.autograd.grad(loss, weight)
        for key, value in (('loss', loss.detach()), ('gradient', gradient)):
            found[f'{key}{step}'] = all_reduce(value) / world_size()
    return {**found, **objective.state_dict()}


def everything() -> dict[str, dict[str, torch.Tensor]]:
    """What :func:`run` finds, for each objective; those without missing units around the ring as well."""
    size = IMAGES // world_size()
    own = slice(rank() * size, (rank() + 1) * size)
    found = {name: run(name, own) for name in OBJECTIVES}
    above, kernel.RING_ABOVE_BYTES = kernel.RING_ABOVE_BYTES, 0
    for name in ('detcon', 'aligndet', 'resim', 'resim, all places'):
        found[f'{name}, ring'] = run(name, own)
    kernel.RING_ABOVE_BYTES = above
    return found
