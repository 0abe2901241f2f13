"""Two gloo processes with half a batch give the losses and gradients of one with the whole."""

from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name('over_ranks.py')


def test_two_processes_equal_one(over_processes):
    one = over_processes(SCRIPT, 0)
    codes, without_exchange = one.pop('codes')
    assert torch.equal(codes, without_exchange)
    for mine in over_processes(SCRIPT, 2):
        shared, separate = mine.pop('codes')
        torch.testing.assert_close(shared, codes, rtol=0, atol=1e-12)
        assert not torch.allclose(separate, codes, atol=1e-3)
        assert mine.keys() == one.keys()
        for name, expected in one.items():
            for got, want in zip(mine[name], expected, strict=True):
                torch.testing.assert_close(
                    got, want, rtol=0, atol=1e-9, msg=lambda m, name=name: f'{name}: {m}'
                )
