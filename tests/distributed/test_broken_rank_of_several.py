"""A loss that is not finite in one process: all leave out the same step, and all say and do the same."""

from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name('broken_rank.py')


@pytest.mark.parametrize('processes', [2, 3])
def test_all_processes_leave_out_the_step(over_processes, processes):
    found = over_processes(SCRIPT, processes)
    for name in ('nan', 'inf'):
        for mine in found:
            before, broken, after = mine[f'{name}-skip']['states'][1:4]
            assert len(before) > 8
            assert all(torch.equal(x, y) for x, y in zip(before, broken, strict=True))
            assert not any(torch.equal(x, y) for x, y in zip(broken[:2], after[:2], strict=True))
            stopped = mine[f'{name}-stop']['stopped']
            assert stopped.startswith(f'iteration 3: loss_image is {name}, on process {processes - 1} of')
            assert not mine[f'{name}-skip']['stopped']
        weights = [mine[f'{name}-skip']['states'][-1][:2] for mine in found]
        assert all(torch.equal(a, b) for other in weights[1:] for a, b in zip(weights[0], other, strict=True))
        assert found[0][f'{name}-skip']['saved'] == ['iter_3.json']
