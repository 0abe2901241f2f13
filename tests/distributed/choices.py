"""Run by test_choices_over_ranks.py: three steps of every contrastive choice.

Two matrices make queries and keys from this rank's share of a global batch. Per choice the file holds, for
each step, the mean over the ranks of loss, diagnostics and gradients, and this rank's state after the last.
"""

import torch
import torch.distributed as dist
from oracles.comparisons import compare, set_clock
from torch import Tensor

from densecl.distributed import rank, world_size
from densecl.models.losses import InfoNCE, Triplet, kernel
from densecl.schedule import Clock

BATCH, CELLS, INPUT, DIM, IMAGES = 8, 3, 6, 4, 12
PER_IMAGE = dict(images=IMAGES)
MIXING = dict(type='densecl.Mixing', hardest=4, pairs=5, with_query=3, start=1, unit='step')


def similar(**kwargs) -> dict:
    return dict(type='densecl.SimilarImages', top=3, threshold=0.2, **kwargs)


def clusters(**kwargs) -> dict:
    kwargs = {'clusters': (2, 3), 'acceptance': 0.9, 'unit': 'step', **kwargs}
    return dict(type='densecl.Clusters', images=IMAGES, dim=DIM, **kwargs)


def glo_fnd(**kwargs) -> dict:
    return dict(type='densecl.GloFND', images=IMAGES, share=0.2, lr=0.3, start=0, **kwargs)


def average(**kwargs) -> dict:
    return dict(type='densecl.MovingAverage', images=IMAGES, **kwargs)


CHOICES = {
    'plain': dict(),
    'debiased': dict(negatives=dict(type='densecl.Debiased', prior=0.1)),
    'hard': dict(negatives=dict(type='densecl.Hard', prior=0.1)),
    'mixing': dict(negatives=MIXING),
    'similar': dict(negatives=similar()),
    'similar_attracted': dict(negatives=similar(treatment='attraction')),
    'clusters': dict(negatives=clusters()),
    'clusters_attracted': dict(negatives=clusters(treatment='attraction')),
    'glo_fnd': dict(negatives=glo_fnd()),
    'glo_fnd_attracted': dict(negatives=glo_fnd(treatment='attraction')),
    'glo_fnd_average': dict(negatives=[glo_fnd(), average()], times_temperature=True),
    'average': dict(negatives=average(), decoupled=True),
    'isogclr': dict(
        temperature=dict(type='densecl.PerSampleTemperature', images=IMAGES),
        negatives=average(gamma=0.8),
        decoupled=True,
        times_temperature=True,
    ),
    'decoupled_weighted': dict(decoupled=True, sigma=0.5),
    'macl': dict(
        temperature=dict(type='densecl.AlignmentAdaptiveTemperature', value=0.2),
        reweighted=True,
    ),
    'learned': dict(temperature=dict(type='densecl.LearnedTemperature', start=0.25)),
    'uncertain': dict(temperature=dict(type='densecl.UncertaintyTemperature', value=0.2)),
    'temperature_free': dict(temperature=dict(type='densecl.TemperatureFree')),
    'scheduled': dict(temperature=dict(start=0.5, end=0.1)),
    'supcon_out': dict(form='out'),
    'supcon_in': dict(form='in-mean'),
    'sincere': dict(form='apart'),
}
LABELLED = {'supcon_out', 'supcon_in', 'sincere'}
QUEUE = dict(queue=13, dim=DIM)
# By kind of rows: one an image, or one a cell.
CANDIDATES = {
    'image': {'views': dict(queue=0, batch='views'), 'queue': QUEUE},
    'dense': {'keys': dict(queue=0, batch='keys'), 'both': dict(batch='views', **QUEUE)},
}
TRIPLETS = {
    'batch-hard': dict(),
    'batch-hard_labels': dict(batch='views'),
    'semi-hard': dict(mining='semi-hard', squared=True, batch='views'),
    'semi-hard_labels': dict(mining='semi-hard'),
}


def objectives(rows: str):
    """Name, a function that builds the objective, and whether images of one class answer each other."""
    for where, kind in CANDIDATES[rows].items():
        # One of them around the ring.
        kernel.RING_ABOVE_BYTES = 0 if where == 'keys' else 2**26
        for name, choice in CHOICES.items():
            if name not in LABELLED or where != 'queue':
                build = lambda a=choice, b=kind: InfoNCE(**{'temperature': 0.3, **a, **b})  # noqa: E731
                yield f'{name}-{where}-{rows}', build, name in LABELLED
    for name, choice in TRIPLETS.items():
        build = lambda a=choice: Triplet(**a)  # noqa: E731
        yield f'triplet-{name}-{rows}', build, name.endswith('labels')


def same_label(comparison, rows: int) -> None:
    """All images of one class answer each other."""
    mine = comparison.batch.labels.repeat_interleave(rows)[:, None]
    comparison.match.across = lambda candidates: lambda columns: mine == candidates.labels[columns]


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


def both_directions(objective, step: int, weights: list[Tensor], dense: bool, labelled: bool):
    """Loss and diagnostics of two pairs, a direction each; then the objective remembers."""
    cells = CELLS if dense else 1
    views, support, indices, labels = draw(step, cells, weights[0].shape[1])
    results, keys = [], []
    for query, key in (views, views[::-1]):
        query, key = query @ weights[0], key @ weights[1]
        rows = query.flatten(0, 1), key.flatten(0, 1)
        pooled = (key.mean(1), query.mean(1)) if dense else ()
        comparison = compare(*rows, indices, *pooled, support=support, labels=labels)
        if labelled:
            same_label(comparison, cells)
        skip_draws(objective, step, len(rows[0]))
        results.append(objective.score(comparison))
        keys.append(comparison.key.detach())
    objective.remember(keys, comparison.batch)
    first, second = results
    return first[0] + second[0], {k: v + second[1][k] for k, v in first[1].items()}


def skip_draws(objective, step: int, rows: int) -> None:
    """Leave out the random numbers that ranks before this one draw for their rows."""
    torch.manual_seed(step)
    torch.rand(rank() * rows, 2 * 5 + 3 + 5 + 3, dtype=torch.float64)


def run(build, dense: bool, labelled: bool) -> dict:
    torch.manual_seed(0)
    objective = build().double().train()
    clock = set_clock(objective, Clock(total=3, epoch=1))
    extra = getattr(getattr(objective, 'temperature', None), 'extra_channels', 0)
    generator = torch.Generator().manual_seed(9)
    weights = [
        torch.randn(INPUT, DIM + extra, dtype=torch.float64, generator=generator).requires_grad_()
        for _ in 'qk'
    ]
    found = {}
    for step in range(3):
        clock.step = step
        loss, diagnostics = both_directions(objective, step, weights, dense, labelled)
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
        for name, build, labelled in objectives(rows):
            results[name] = run(build, rows == 'dense', labelled)
    return results
