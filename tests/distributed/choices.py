"""Run by test_choices_over_ranks.py: three steps of every contrastive choice.

Two matrices make queries and keys from this rank's share of a global batch. Per choice the file holds, for
each step, the mean over the ranks of loss, diagnostics and gradients, and this rank's state after the last.
"""

import torch
import torch.distributed as dist
from oracles.comparisons import compare, set_clock
from oracles.contrast import answers_alike
from torch import Tensor

from densecl.distributed import rank, world_size
from densecl.models.losses import InfoNCE, Triplet
from densecl.models.losses.kernel import ring
from densecl.schedule import Clock

BATCH, CELLS, INPUT, DIM, IMAGES = 8, 3, 6, 4, 12

# Those with ``alike`` in their name have answers of the same class.
CHOICES = {
    'plain': dict(),
    'debiased': dict(negatives=dict(type='densecl.Debiased', prior=0.1)),
    'hard': dict(negatives=dict(type='densecl.Hard', prior=0.1)),
    'mixing': dict(
        negatives=dict(type='densecl.Mixing', hardest=4, pairs=5, with_query=3, start=1, unit='step')
    ),
    'decoupled_weighted': dict(decoupled=True, sigma=0.5),
    'macl': dict(
        temperature=dict(type='densecl.AlignmentAdaptiveTemperature', value=0.2), reweighted=True
    ),
    'learned': dict(temperature=dict(type='densecl.LearnedTemperature', start=0.25)),
    'uncertain': dict(temperature=dict(type='densecl.UncertaintyTemperature', value=0.2)),
    'temperature_free': dict(temperature=dict(type='densecl.TemperatureFree')),
    'scheduled': dict(temperature=dict(start=0.5, end=0.1)),
    'alike_out': dict(form='out'),
    'alike_in': dict(form='in'),
    'alike_in-mean': dict(form='in-mean'),
    'alike_apart': dict(form='apart'),
}
QUEUE = dict(queue=13, dim=DIM)
# By kind of rows: one an image, or one a cell.
CANDIDATES = {
    'image': {'views': dict(queue=0, batch='views'), 'queue': QUEUE},
    'dense': {'keys': dict(queue=0, batch='keys'), 'both': dict(batch='views', **QUEUE)},
}
TRIPLETS = {
    'batch-hard': dict(),
    'batch-hard_alike': dict(batch='views'),
    'semi-hard': dict(mining='semi-hard', squared=True, batch='views'),
    'semi-hard_alike': dict(mining='semi-hard'),
}


def objectives(rows: str):
    """Name, and a function that builds the objective."""
    for where, kind in CANDIDATES[rows].items():
        # One of them around the ring.
        ring.RING_ABOVE_BYTES = 0 if where == 'keys' else 2**26
        for name, choice in CHOICES.items():
            if 'alike' not in name or where != 'queue':
                yield f'{name}-{where}-{rows}', lambda a=choice, b=kind: InfoNCE(
                    **{'temperature': 0.3, **a, **b}
                )
    for name, choice in TRIPLETS.items():
        yield f'triplet-{name}-{rows}', lambda a=choice: Triplet(**a)


def own(x: Tensor) -> Tensor:
    """This rank's share."""
    return x.chunk(world_size())[rank()]


def draw(step: int, cells: int, width: int):
    """Inputs of one step: of two views, of support views, positions in the data set, class ids."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(2, BATCH, cells, INPUT, dtype=torch.float64, generator=generator)
    support = torch.randn(2, BATCH, width, dtype=torch.float64, generator=generator)
    indices = torch.randperm(IMAGES, generator=generator)[:BATCH]
    return [own(v) for v in x], torch.stack([own(v) for v in support]), own(indices), own(indices % 3)


def both_directions(objective, number: int, weights: list[Tensor], dense: bool, alike: bool):
    """Loss and diagnostics of two pairs of views, a direction each; then the objective remembers."""
    views, support, indices, labels = draw(number, CELLS if dense else 1, weights[0].shape[1])
    pairs = []
    for query, key in (views, views[::-1]):
        query, key = query @ weights[0], key @ weights[1]
        pooled = (key.mean(1), query.mean(1)) if dense else (None, None)
        rows = query.flatten(0, 1), key.flatten(0, 1)
        c = compare(*rows, indices, *pooled, support=support, labels=labels)
        pairs.append(answers_alike(c) if alike else c)
    found = []
    for c in pairs:
        skip_draws(objective, number, len(c.query.vectors.flatten(0, 1)))
        found.append(objective.score(c))
    objective.remember([c.key for c in pairs], pairs[0].batch)
    (first, logged), (second, others) = found
    return first + second, {k: v + others[k] for k, v in logged.items()}


def skip_draws(objective, step: int, rows: int) -> None:
    """Leave out the random numbers that ranks before this one draw for their rows."""
    torch.manual_seed(step)
    torch.rand(rank() * rows, 2 * 5 + 3 + 5 + 3, dtype=torch.float64)


def run(build, dense: bool, alike: bool) -> dict:
    torch.manual_seed(0)
    objective = build().double().train()
    clock = set_clock(objective, Clock(total=3, epoch=1))
    extra = getattr(objective, 'extra_channels', 0)
    generator = torch.Generator().manual_seed(9)
    weights = [
        torch.randn(INPUT, DIM + extra, dtype=torch.float64, generator=generator).requires_grad_()
        for _ in 'qk'
    ]
    found = {}
    for step in range(3):
        clock.step = step
        loss, diagnostics = both_directions(objective, step, weights, dense, alike)
        wanted = weights + list(objective.parameters())
        gradients = torch.autograd.grad(loss, wanted)
        shares = torch.stack(list(diagnostics.values())).double()
        means = torch.cat([shares, loss.detach()[None], *(g.flatten() for g in gradients)])
        dist.all_reduce(means)
        means /= world_size()
        found[f'diagnostics{step}'] = means[: len(shares)]
        found[f'step{step}'] = means[len(shares) :]
    found['state'] = dict(objective.state_dict())
    return found


def everything() -> dict:
    results = {}
    for rows in CANDIDATES:
        for name, build in objectives(rows):
            results[name] = run(build, rows == 'dense', 'alike' in name)
    return results
