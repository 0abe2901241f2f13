"""Texts: two gloo processes with half a batch each equal one process with the whole."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('sentences.py')


def test_half_batches_on_two_processes_equal_the_whole_batch_on_one(over_processes):
    (one,) = over_processes(SCRIPT, 1)
    two = over_processes(SCRIPT, 2)
    values = [float(case['loss']) for case in one.values()]
    assert len(set(values)) == 3 and min(values) > 0.1
    for mine in two:
        for name, case in one.items():
            torch.testing.assert_close(mine[name]['loss'], case['loss'], rtol=0, atol=1e-9)
            torch.testing.assert_close(mine[name]['gradients'], case['gradients'], rtol=1e-7, atol=1e-9)
