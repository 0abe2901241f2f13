"""Processes with a part of the batch each equal one with the whole: loss, gradients, queues."""

from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('two_processes.py')


@pytest.fixture(scope='module')
def one(over_processes):
    (alone,) = over_processes(SCRIPT, 1)
    return alone


@pytest.mark.parametrize('processes', [2, 3])
def test_parts_of_a_batch_equal_the_whole_batch_on_one_process(over_processes, one, processes):
    assert len(one['gradients']) > 60
    for mine in over_processes(SCRIPT, processes):
        torch.testing.assert_close(mine['loss'], one['loss'], rtol=0, atol=1e-9)
        torch.testing.assert_close(mine['gradients'], one['gradients'], rtol=1e-7, atol=1e-9)
        # Of data-parallel gradients each rank sends its part once to all others, in both halves of a ring.
        share = 2 * (processes - 1) / processes
        sent = share * sum(8 * g.numel() for g in mine['gradients'].values())
        assert mine['sent'] == {'all_reduce': pytest.approx(sent, rel=1e-6)}
        torch.testing.assert_close(mine['queues'], one['queues'], rtol=0, atol=1e-9)
    assert int(one['queues']['heads.dense.objective.queue.enqueued']) == 6
