"""The examples in the documentation build, and the objectives among them score a batch."""

import ast
import re
from pathlib import Path

import pytest
import torch
from oracles.comparisons import compare

from densecl.models.pretrainers import Branch
from densecl.registry import MODELS, TRANSFORMS
from densecl.schedule import Clock
from densecl.structures import Batch, Place
from tests.models.heads.made import views_of

ROOT = Path(__file__).parents[1]
DOCUMENTS = ('README.md', 'docs/objectives.md')
CHOICE = re.compile(r'`((objective|negatives|temperature) ?= ?dict\([^`]*\))`')
IMAGES = 8


def examples() -> dict[str, tuple[str, object]]:
    """Id -> name and config of everything that a ``python`` block or an inline snippet assigns."""
    found = {}
    for document in DOCUMENTS:
        text = (ROOT / document).read_text()
        sources = re.findall(r'```python\n(.*?)```', text, flags=re.S)
        sources += [match[0] for match in CHOICE.findall(text)]
        for number, code in enumerate(sources):
            for line, name, value in assignments(code):
                found[f'{document}-{number}-{line}-{name}'] = name, value
    return found


def assignments(code: str) -> list[tuple[int, str, object]]:
    """Line, name and value of each assignment; an ellipsis stands for further arguments."""
    known, found = {}, []
    for statement in ast.parse(code.replace(', ...', '')).body:
        if isinstance(statement, ast.Assign):
            name = statement.targets[0].id
            value = eval(compile(ast.Expression(statement.value), name, 'eval'), {}, known)
            known[name] = value
            found.append((statement.lineno, name, value))
    return found


EXAMPLES = examples()


def of(*names: str):
    """Parametrise over the examples with one of these names."""
    chosen = {key: value for key, value in EXAMPLES.items() if value[0] in names}
    return pytest.mark.parametrize('example', chosen.values(), ids=chosen.keys())


def started(module):
    """In training, with a clock in the middle of the run."""
    clock = Clock(step=80, total=100, epoch=1)
    for part in module.modules():
        if hasattr(part, 'clock'):
            part.clock = clock
    return module.train()


def score(objective):
    """Loss of a batch of ``IMAGES`` rows, and its gradient."""
    query, key = torch.randn(2, IMAGES, 128 + getattr(objective, 'extra_channels', 0)).requires_grad_()
    indices = torch.arange(IMAGES)
    comparison = compare(query, key, indices, labels=indices % 3)
    flipped, crop = torch.zeros(IMAGES, dtype=torch.bool), torch.tensor([[0.0, 0, 8, 8]]).repeat(IMAGES, 1)
    comparison.query.place = Place(crop, flipped, torch.full((IMAGES, 2), 8.0), (8, 8), grid=(1, 1))
    loss, _ = objective.score(comparison)
    return torch.autograd.grad(loss, query)[0]


def test_there_are_examples():
    count = {name: sum(n == name for n, _ in EXAMPLES.values()) for name in ('objective', 'model', 'heads')}
    assert count['objective'] >= 16 and count['model'] >= 2 and count['heads'] >= 3
    choices = [name for name, _ in EXAMPLES.values()]
    assert [choices.count(name) for name in ('negatives', 'temperature')] == [7, 6]


@of('objective')
def test_objectives(example):
    gradient = score(started(MODELS.build(example[1])))
    assert gradient.isfinite().all() and gradient.any()


@of('negatives', 'temperature')
def test_choices(example):
    name, config = example
    queue = 2048 if config.get('type') == 'Mixing' else 0
    objective = dict(type='InfoNCE', queue=queue, batch='views', **{name: config})
    if config.get('type') == 'Clusters':
        objective['negatives'] = {**config, 'clusters': (2, 3)}  # of 8 images
    gradient = score(started(MODELS.build(objective)))
    assert gradient.isfinite().all() and gradient.any()


@of('heads')
def test_heads(example):
    views = views_of([torch.zeros(IMAGES, 3, 8, 8)] * 10)
    branch = Branch(lambda images: (torch.randn(len(images), 2048, 2, 2),), views)
    for config in example[1].values():
        head = started(MODELS.build(dict(config, type='Head')))
        loss = head.loss(branch, branch, views, Batch.of(views), head.projector).loss
        loss.backward()
        assert loss.isfinite()


@of('model')
def test_models(example):
    assert MODELS.build(example[1]).heads


@of('pipeline')
def test_pipelines(example):
    assert [TRANSFORMS.build(step) for step in example[1]]
