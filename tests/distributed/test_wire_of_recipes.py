"""What the small recipes send in a step at a fake world of two: how often, and how much."""

import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from densecl.planning.counting import played_processes
from densecl.planning.wire import WireCounter

sys.path.insert(0, str(Path(__file__).parents[1]))
from pins import make  # noqa: E402

# Recipe -> calls of a step. Each gathers the numbers of the batch's images at most once.
CALLS = {
    'simclr': {'all_gather': 3, 'reduce_scatter': 2},
    'mocov2': {'all_to_all': 2, 'all_gather': 2},
    # The keys of both queues go together,
    'densecl': {'all_to_all': 3, 'all_gather': 2},
    # and so do those of eight; images and patches are shuffled and put back, four levels each.
    'detco': {'all_to_all': 10, 'all_gather': 2},
    # Both views of a pair go together.
    'vicregl': {'all_gather': 5, 'reduce_scatter': 5},
}


@pytest.mark.parametrize('recipe', CALLS)
def test_calls_of_a_step(recipe):
    (path,) = (path for path in make.PATHS if path.stem.startswith(f'{recipe}_resnet18_'))
    cfg = Config.fromfile(path)
    model, views = make.build(cfg), make.make_views(path.stem, cfg, 0)
    with played_processes(2), WireCounter() as wire:
        losses = model.loss(views)
        sum(value for name, value in losses.items() if 'loss' in name).backward()
    assert wire.calls == CALLS[recipe]
