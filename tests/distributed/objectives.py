"""Run by test_objectives_of_two_processes.py: two steps of each objective.

What counts is spread unevenly: three labels of the first half, one of the second; no answer at all in the
second half of the first step.
"""

import torch
import torch.distributed as dist

from densecl.distributed import all_reduce, rank, world_size
from densecl.models.losses import (
    NCE,
    BarlowTwins,
    CodeCrossEntropy,
    Cosine,
    FMutualInformation,
    Gram,
    InContext,
    KernelAlignment,
    KoLeo,
    LabelCrossEntropy,
    PositionVICReg,
    PrototypeAlignment,
    QueueDistillation,
    SelfDistillation,
    SimilarityRows,
    SoftCrossEntropy,
    Sum,
    SwappedPrediction,
    VICReg,
)
from densecl.models.matching import SameSegment
from densecl.structures import Batch, Comparison, Match, Units

ROWS, UNITS, DIM, WIDE = 8, 3, 6, 60
LABELS = torch.tensor([1, -1, 2, 0, -1, -1, -1, 2])
IMAGES = [[3, 12, 5, 0, 9, 5, 7, 1], [3, 2, 9, 4, 9, 11, 12, 6]]  # 5 and 9 come twice


class Projector:
    """Scores of embeddings, as a projector with prototypes gives them."""

    weight = torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    @classmethod
    def prototypes(cls, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(x, dim=-1) @ cls.weight.T / 3


def objectives() -> dict[str, torch.nn.Module]:
    """Each objective by name, in float64; those called ``any_...`` take any number of answers."""
    cosine, anchors = dict(type='densecl.Cosine'), dict(type='densecl.PrototypeAlignment', classes=3, dim=DIM)
    made = dict(
        any_cosine=Cosine(),
        any_counted=Cosine(squared=True, mean='counted'),
        any_images=Cosine(mean='images'),
        cosine=Cosine(squared=True),
        f_mutual_information=FMutualInformation('jensen-shannon', weight=2.0),
        barlow=BarlowTwins(redundancy_weight=0.1),
        vicreg=VICReg(),
        vicreg_paper=VICReg(form='paper'),
        positions=PositionVICReg(),
        # Of so many channels that rows are gathered, where those above sum (D, D) matrices.
        wide_barlow=BarlowTwins(redundancy_weight=0.1),
        wide_vicreg=VICReg(),
        wide_positions=PositionVICReg(),
        anchors=PrototypeAlignment(classes=3, dim=DIM),
        sum=Sum(objectives=[cosine, anchors], weights=[1.0, 2.0]),
        labels=LabelCrossEntropy(),
        swav=SwappedPrediction(queue=11, dim=DIM, queue_start=0, assign=1),
        dino=SelfDistillation(DIM),
        gram=Gram(),
        masked_kernels=KernelAlignment(),
        masked_rows=SimilarityRows(),
        distillation=QueueDistillation(DIM, queue=11),
        context=InContext(0.2, others=3),
        context_shared=InContext(0.2, others=ROWS, shared_ids=True),
        koleo=KoLeo(group=ROWS // 2),
        grouping=SelfDistillation(DIM, mean='counted'),
        masked=SelfDistillation(DIM, mean='images'),
        masked_all=SelfDistillation(DIM, mean='images', centered_over='all'),
        masked_sinkhorn=SelfDistillation(DIM, mean='images', centering='sinkhorn'),
        masked_codes=CodeCrossEntropy(),
        masked_shares=SoftCrossEntropy(),
        nce=NCE(images=13, dim=DIM, negatives=7, temperature=0.2),
        softmax=NCE(images=13, dim=DIM, temperature=0.2, form='softmax'),
    )
    return {name: objective.double().train() for name, objective in made.items()}


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The global batch of two views, the same in every process."""
    generator = torch.Generator().manual_seed(step)
    return torch.randn(2, ROWS, UNITS, DIM, generator=generator, dtype=torch.float64).unbind()


def masked(step: int) -> torch.Tensor:
    """Masks of tokens: many in the first half, few in the second, none there in the first step."""
    masks = torch.rand(ROWS, UNITS, generator=torch.Generator().manual_seed(step)) < 0.7
    masks[ROWS // 2 + step :] = False
    masks[0] = False
    return masks


def match(step: int, several: bool) -> Match:
    """The global batch's answers."""
    generator = torch.Generator().manual_seed(step)
    if several:
        mask = torch.rand(ROWS, UNITS, UNITS, generator=generator) < 0.4
        if step == 0:
            mask[ROWS // 2 :] = False
        return Match(mask=mask)
    index = torch.rand(ROWS, UNITS, generator=generator).argsort(1)
    return Match(index=index)


def compare(name: str, step: int, weight: torch.Tensor, own: slice) -> Comparison:
    """What this process sees of a step; scores of prototypes where an objective asks for them."""
    a, b = (x[own] @ weight for x in batch(step))
    found = match(step, name.startswith('any'))
    for field in ('index', 'mask'):
        value = getattr(found, field)
        setattr(found, field, None if value is None else value[own])
    if name == 'grouping':
        found.valid = (LABELS >= 0)[own, None].expand(-1, UNITS)
    masks = None
    if name.startswith('masked'):
        masks = masked(step)[own]
        found = Match(index=torch.arange(UNITS).expand(len(masks), -1), valid=masks)
    images = Batch(torch.arange(ROWS)[own], torch.tensor(IMAGES[step])[own], LABELS[own])
    embeddings = torch.nn.functional.normalize(b.detach(), dim=-1)
    if name in ('swav', 'dino', 'grouping') or name.startswith('masked'):
        a, b = Projector.prototypes(a), Projector.prototypes(b)
    if name == 'masked_codes':
        b = b.argmax(-1, keepdim=True).to(a.dtype)
    if name == 'masked_shares':
        b = b.softmax(-1) * torch.tensor(IMAGES[step])[own, None, None]  # the image's number is the weight
    key = Units(b, pooled=b.mean(1), embeddings=embeddings, valid=masks)
    query = Units(a)
    if name.startswith('context'):  # nothing is labelled in the second half of the first step
        for units, seed in ((query, step), (key, step + 5)):
            generator = torch.Generator().manual_seed(seed)
            units.labels = torch.rand(ROWS, UNITS, 2, generator=generator, dtype=torch.float64)[own]
            units.label_ids = torch.randint(0, 3, (ROWS, 2), generator=generator)
            units.label_ids[ROWS // 2 + 4 * step :] = -1
            units.label_ids = units.label_ids[own]
        found = SameSegment()(query, key, images)
    return Comparison(query, key, found, images, projector=Projector)


def run(name: str, objective: torch.nn.Module, own: slice) -> dict[str, torch.Tensor]:
    """Losses and gradients of two steps on this process's images, and the state after them."""
    generator = torch.Generator().manual_seed(9)
    channels = WIDE if name.startswith('wide') else DIM
    weight = torch.randn(DIM, channels, generator=generator, dtype=torch.float64).requires_grad_()
    found = {}
    for step in range(len(IMAGES)):
        comparison = compare(name, step, weight, own)
        loss, diagnostics = objective.score(comparison)
        assert not any(value.requires_grad for value in diagnostics.values())
        (gradient,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            objective.remember([comparison.key.detach()], comparison.batch)
        for part, value in (('loss', loss.detach()), ('gradient', gradient)):
            found[f'{part}{step}'] = all_reduce(value) / world_size()
    return {**found, **objective.state_dict()}


def everything() -> dict[str, dict[str, torch.Tensor]]:
    """What :func:`run` finds, for each objective; (D, D) sums of many channels are not on the wire."""
    size = ROWS // world_size()
    own = slice(rank() * size, (rank() + 1) * size)
    found, reduce = {}, dist.all_reduce
    for name, objective in objectives().items():
        sizes = [0]
        dist.all_reduce = lambda x, *args, _sizes=sizes: _sizes.append(x.numel()) or reduce(x, *args)
        found[name] = run(name, objective, own)
        assert not name.startswith('wide') or max(sizes) < WIDE**2, (name, sizes)
    dist.all_reduce = reduce
    return found
