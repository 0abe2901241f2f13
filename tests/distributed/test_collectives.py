"""gather, all_reduce and the ring: several gloo processes have the value and gradient of one."""

import math
import runpy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from densecl.distributed import all_reduce, gather
from densecl.models.losses.kernel import similarity_logsumexp

SCRIPT = Path(__file__).with_name('collectives.py')


def dense_form() -> dict[str, list[torch.Tensor]]:
    """The same losses of the whole batch, with the whole matrix in memory."""
    x, weight = runpy.run_path(str(SCRIPT))['batch']()
    z = x @ weight
    query, keys = 3 * F.normalize(z, dim=1), F.normalize(z.flip(1), dim=1)
    logits, positive = query @ keys.T, (query * keys).sum(1)
    kept = ~torch.eye(len(x), dtype=torch.bool) & (logits > -1)
    kept[2] = False
    assert 0 < kept.sum() < kept.numel() - 2 * len(x)
    terms = (logits.exp() * kept).sum(1) / positive.exp()
    moments = z.T @ z / len(x)
    losses = {
        'plain': torch.log1p(logits.exp().sum(1) / positive.exp()).mean(),
        'masked': torch.log1p(terms).mean(),
        'whole': (z @ z.T).pow(2).mean() + moments.diagonal().pow(3).sum(),
    }
    found = {}
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, weight, retain_graph=True)
        found[name] = [loss.detach(), gradient]
    return {**found, 'rows': x}


@pytest.mark.parametrize('processes', [2, 3])
def test_ranks_with_their_rows_equal_one_process_with_all(over_processes, processes):
    expected = dense_form()
    for mine in over_processes(SCRIPT, processes):
        x = expected['rows']
        assert torch.equal(mine.pop('rows'), x)
        gathered = mine.pop('together')
        parts = [x.float().view(-1, 2, 3), x.long(), x[:, :4].float(), x, x[:, :0].float()]
        for a, b in zip(gathered, parts, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
        assert len(mine) == 5
        for name, got in mine.items():
            form = 'whole' if name == 'whole' else 'masked' if name.endswith('masked') else 'plain'
            for a, b in zip(got, expected[form], strict=True):
                torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f'{n}: {m}')


def test_one_process_passes_tensors_through():
    x = torch.ones(2, 3, requires_grad=True)
    assert gather(x) is x
    assert all_reduce(x) is x
    for ring in (False, True):
        lse, top = similarity_logsumexp(x, 2 * x, ring=ring)
        torch.testing.assert_close(lse, torch.full((2,), 6 + math.log(2)))
        assert top.tolist() == [6, 6]
