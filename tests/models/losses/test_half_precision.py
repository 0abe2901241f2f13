"""Every registered objective on half precision, as autocast makes it; float16 near the ends of its range."""

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest
import torch
from oracles.comparisons import compare, set_clock

from densecl.models.losses import Filter, InfoNCE, Mass, Objective
from densecl.models.losses.temperatures import Temperature
from densecl.registry import MODELS
from densecl.schedule import Clock
from densecl.structures import Detections

SCRIPT = Path(__file__).parents[2] / 'distributed' / 'choices.py'
script = run_path(str(SCRIPT))
CHOICES, LABELLED, BATCH, DIM = (script[name] for name in ('CHOICES', 'LABELLED', 'BATCH', 'DIM'))
CELLS = 3
#: The initial scale of torch's GradScaler.
SCALE = 65536.0

#: What an objective needs to be built; a new one that needs nothing is covered as it is.
NEEDED = {
    'Adversarial': dict(discriminator=dict(type='densecl.ConvMLP', channels=(DIM, 1))),
    'InfoNCE': dict(dim=DIM, queue=16, batch='views'),
    'NCE': dict(dim=DIM, images=BATCH, negatives=16),
    'NeighbourDistillation': dict(prototypes=DIM, dim=DIM, queue=24, start=0),
    'OnlineClusters': dict(dim=DIM, clusters=DIM),
    'PrototypeAlignment': dict(dim=DIM, classes=3),
    'QueueDistillation': dict(dim=DIM, queue=8),
    'SelfDistillation': dict(prototypes=DIM),
    'Sum': dict(objectives=[dict(type='Cosine'), dict(type='Gram')]),
}


def registered(kind: type) -> list[str]:
    """Names of the classes of one kind."""
    MODELS.import_from_location()
    found = MODELS.module_dict.items()
    return [
        name for name, x in found if isinstance(x, type) and issubclass(x, kind) and 'densecl' in x.__module__
    ]


CONFIGS = {name: dict(type=name, **NEEDED.get(name, {})) for name in registered(Objective)}
CONFIGS |= {
    f'InfoNCE_{name}': dict(type='InfoNCE', **{**NEEDED['InfoNCE'], 'queue': 20, **choice})
    for name, choice in CHOICES.items()
}
CONFIGS |= {
    f'InfoNCE_{batch}': dict(type='InfoNCE', queue=0, batch=batch) for batch in ('keys', 'units', 'image')
}
CONFIGS |= {
    'InfoNCE_own_weight': dict(type='InfoNCE', queue=0, batch='units', own_weight=1.0),
    'Cosine_squared': dict(type='Cosine', squared=True, mean='images'),
    'NCE_softmax': dict(type='NCE', form='softmax', **NEEDED['NCE']),
    'Triplet_semi-hard': dict(type='Triplet', mining='semi-hard', squared=True, batch='views'),
    'VICReg_paper': dict(type='VICReg', form='paper'),
}


def some_zero(x):
    return torch.where((torch.arange(len(x)) % 3 == 0)[:, None], 0.0, x)


#: Kind of vectors -> how they are made of normal ones, and a scale of the loss that gradients must bear.
KINDS = {
    'usual': (lambda x: x, 2**13),
    'large': (lambda x: 1e4 * x.clamp(-6, 6), 2**16),
    'zero': (some_zero, 2**13),
    'tiny': (lambda x: 1e-6 * x, 2**10),
    'short': (lambda x: 1e-3 * x, 2**9),
    'alike': (lambda x: x[:1].expand_as(x), 1),
    'bfloat16': (lambda x: x, 2**16),  # the others are float16
}
#: What they compute in half precision under autocast, or are given as shares, is rounded.
ROUNDED = ('Adversarial', 'SoftCrossEntropy')
#: Their true gradient grows as the third power of what they are given: beyond float16 whatever the scale.
CUBIC = {'VICReg', 'VICReg_paper', 'PositionVICReg'}
#: Its gradient grows as what it is given: the scale that it bears is smaller.
LINEAR = {'Reconstruction': 2**6, 'Commitment': 2**6}


def half(kind: str) -> torch.dtype:
    """The half precision of a kind."""
    return torch.bfloat16 if kind == 'bfloat16' else torch.float16


def run(name: str, kind: str, dtype: torch.dtype):
    """Leaves, loss and diagnostics of the same half-precision numbers, computed on as ``dtype``."""
    torch.manual_seed(0)
    objective = MODELS.build(CONFIGS[name]).train()
    set_clock(objective, Clock(step=2, total=3, epoch=1))
    generator = torch.Generator().manual_seed(1)
    width = DIM + getattr(objective, 'extra_channels', 0)

    def leaf(count: int):
        x = KINDS[kind][0](torch.randn(count, width, generator=generator))
        return x.to(half(kind)).to(dtype).requires_grad_()

    leaves = [leaf(BATCH * CELLS), leaf(BATCH * CELLS), leaf(BATCH), leaf(BATCH)]
    indices = torch.arange(BATCH)
    support = leaf(BATCH).detach()[None]
    c = compare(*leaves[:2], indices, *leaves[2:], support=support, labels=indices % 3)
    if name == 'CodeCrossEntropy':  # its keys are codes
        c.key.vectors = (torch.arange(BATCH * CELLS) % width).view(BATCH, CELLS, 1).to(dtype)
    c.query.place = SimpleNamespace(grid=(1, CELLS))
    if name == 'SoftCrossEntropy':  # its keys are shares
        c.key.vectors = c.key.vectors.detach().float().softmax(-1).to(dtype)
    if name == 'Commitment':
        c.query.embeddings, c.query.codes = c.query.vectors, c.key.vectors
    keys = [c.key]
    if name == 'NeighbourDistillation':  # the batch itself is remembered
        c.key.features, c.own, c.projector = c.key.vectors.detach(), c.query.detach(), torch.nn.Identity()
        c.own.features, c.key.view, keys = c.own.vectors, 1, [c.own, c.key]
        objective.remember(keys, c.batch)
    if name == 'BoxRegression':
        c.query.valid = torch.ones(BATCH, CELLS, dtype=torch.bool)
        c.query.detections = detections(c.query.vectors.float())
    if name.removeprefix('InfoNCE_') in LABELLED:
        script['same_label'](c, CELLS)
    torch.manual_seed(2)
    with torch.autocast('cpu', half(kind), enabled=dtype == half(kind)):
        loss, diagnostics = objective.score(c)
        objective.remember(keys, c.batch)
    return objective, leaves, loss, diagnostics


def detections(x: torch.Tensor) -> Detections:
    """Anchors and regions near boxes; logits and offsets are channels of (B, N, D)."""
    near = 10.0 * torch.arange(CELLS)
    boxes = torch.stack([near, near, near + 9, near + 6], 1).expand(BATCH, -1, -1)
    there, own = torch.ones(BATCH, CELLS, dtype=torch.bool), torch.arange(CELLS).expand(BATCH, -1)
    parts = boxes, there, boxes[0] + 1, x[..., 0], x[..., :4], (1.0,) * 4
    return Detections(*parts, boxes - 1, own, x[..., :4], (0.1, 0.1, 0.2, 0.2))


def finite(loss, leaves, scale: float) -> bool:
    """Whether the gradients of the scaled loss are."""
    found = torch.autograd.grad(loss * scale, leaves, retain_graph=True, allow_unused=True)
    found = [x for x in found if x is not None]
    assert found and all(x.dtype == leaves[0].dtype for x in found)
    return all(x.isfinite().all() for x in found)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('name', CONFIGS)
def test_nothing_overflows(name, kind):
    objective, leaves, loss, diagnostics = run(name, kind, half(kind))
    _, single, want, _ = run(name, kind, torch.float32)
    assert loss.dtype == torch.float32 and loss.isfinite()
    rtol = torch.finfo(half(kind)).eps / 10 if name in ROUNDED else 1e-6
    torch.testing.assert_close(loss, want, rtol=rtol, atol=1e-6)
    assert all(x.isfinite().all() for x in diagnostics.values())
    state = (x for x in objective.buffers() if x.is_floating_point())
    assert not any((x.isnan() | x.isposinf()).any() for x in state)  # -inf: the mean of no image yet
    assert finite(want, single, SCALE)
    scale = SCALE
    while not finite(loss, leaves, scale) and scale > 1:  # as the scaler halves it
        scale /= 2
    if kind == 'large' and name in CUBIC:
        assert scale == 1
    else:
        least = LINEAR.get(name, KINDS[kind][1]) if kind == 'large' else KINDS[kind][1]
        assert finite(loss, leaves, scale) and scale >= least


def test_every_part_of_info_nce_is_among_them():
    built = [InfoNCE(**{**NEEDED['InfoNCE'], **choice}) for choice in CHOICES.values()]
    found = {type(module).__name__ for objective in built for module in objective.modules()}
    for kind in (Mass, Filter, Temperature):
        assert found.issuperset(registered(kind))
        assert registered(kind)
