"""Two processes that share a model's parameters compute what one process computes with the whole batch."""

from pathlib import Path
from runpy import run_path

import pytest
import torch
from mmengine.config import Config

from densecl.engine import launch
from densecl.engine.shard import shard
from densecl.models.losses.temperatures import LearnedTemperature

SCRIPT = Path(__file__).with_name('sharded.py')
RUNS = ('momentum', 'shared', 'recomputed', 'leopart', 'swav', 'lars')


@pytest.fixture(scope='module')
def results(over_processes):
    """Of one process, and of two."""
    return over_processes(SCRIPT, 0), over_processes(SCRIPT, 2)


@pytest.mark.parametrize('name', RUNS)
def test_two_processes_equal_one(results, name):
    want = results[0][name]
    assert want['losses'].unique().numel() == 3
    for got in (result[name] for result in results[1]):
        torch.testing.assert_close(got['losses'], want['losses'], rtol=1e-12, atol=0)
        torch.testing.assert_close(got['norms'], want['norms'], rtol=1e-9, atol=0)
        assert list(got['state']) == list(want['state'])  # whole, under the same names, on each process
        torch.testing.assert_close(got['state'], want['state'], rtol=0, atol=1e-9)
        torch.testing.assert_close(got['optimizer'], want['optimizer'], rtol=0, atol=1e-9)


@pytest.mark.parametrize('name', RUNS)
def test_each_process_keeps_a_half_and_resumes_exactly(results, name):
    for got in (result[name] for result in results[1]):
        assert got['resumed']
        assert 0.45 < got['share'] < 0.55
    assert results[0][name]['share'] == 1


def test_files_of_a_run_are_those_of_a_plain_one(results):
    found = results[1][0]['files']
    plain = run_path(str(SCRIPT))['momentum']()
    plain.load_state_dict(found['whole']['state_dict'])
    assert plain.steps == 4
    online = [p for p in plain.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(plain.parameters(), lr=1)  # mmengine lists the target's, too
    optimizer.load_state_dict(found['whole']['optimizer'])
    assert all(optimizer.state[p]['momentum_buffer'].shape == p.shape for p in online)
    torch.testing.assert_close(found['resumed'], found['whole'], rtol=0, atol=0)


def test_weights_can_be_loaded(results):
    for result in (results[0], *results[1]):
        given, loaded = result['started']['given'], result['started']['loaded']
        for name, tensor in given.items():
            for side in ('', 'target.'):
                torch.testing.assert_close(loaded[f'{side}{name}'], tensor, rtol=0, atol=0)


def test_single_numbers_cannot_be_sharded():
    with pytest.raises(ValueError, match='--shard cannot spread log_scale, a single number'):
        shard(LearnedTemperature())


def test_what_cannot_be_sharded_is_refused():
    cfg = Config(dict(model=dict(type='MomentumPretrainer'), launcher='none'))
    with pytest.raises(ValueError, match='--shard spreads the model over several processes'):
        launch.use_shard(cfg)
    cfg.launcher = 'pytorch'
    launch.use_shard(cfg)
    assert cfg.model_wrapper_cfg.type == 'FullyShard'
    cfg.custom_hooks = [dict(type='densecl.GuardHook')]
    with pytest.raises(ValueError, match=r'--shard: custom_hooks has densecl\.GuardHook'):
        launch.use_shard(cfg)
