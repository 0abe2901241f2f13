"""SetSim's form of the loss of cells with several positives, against its definition, entry by entry."""

from functools import partial

import pytest
import torch

from densecl.models.losses import functional as L
from densecl.models.losses.candidates import Candidates
from densecl.models.losses.functional import plain_objective
from densecl.numerics import unit
from densecl.structures import Comparison


def terms(query, keys, positives, temperature, negatives=None, form='in'):
    c = Comparison.of_sets(query, keys, positives)
    candidates = None if negatives is None else Candidates(unit(negatives))
    return plain_objective(temperature, batch='image', form=form).terms(c, candidates)[0]


set_info_nce = partial(L.multi_positive_info_nce, form='out', per_image=True)


def naive_set_info_nce(query, keys, positives, negatives, temperature):
    def cosine(a, b):
        return (a @ b) / a.norm() / b.norm() / temperature

    total = 0.0
    for b in range(len(query)):
        cells = []
        for n in range(query.shape[1]):
            own = [cosine(query[b, n], keys[b, m]) for m in range(keys.shape[1]) if positives[b, n, m]]
            if not own:
                continue
            others = [cosine(query[b, n], k) for k in negatives]
            mass = sum(torch.exp(v) for v in own + others)
            cells.append(sum(-torch.log(torch.exp(v) / mass) for v in own) / len(own))
        total = total + (sum(cells) / len(cells) if cells else 0.0)
    return total / len(query)


@pytest.fixture
def positives():
    """Cells with three, two and one positives and with none; an image with none at all."""
    mask = torch.zeros(3, 4, 5, dtype=torch.bool)
    mask[0, 0, :3] = mask[0, 2, 3] = mask[1, 1, [0, 4]] = True
    return mask


@pytest.mark.parametrize('temperature', [0.2, 1.0])
def test_set_info_nce_equals_the_definition(agree, draw, positives, temperature):
    query, keys, negatives = draw((3, 4, 6), (3, 5, 6), (7, 6))
    agree(
        lambda q, k: set_info_nce(q, k, positives, temperature, negatives),
        lambda q, k: naive_set_info_nce(q, k, positives, negatives, temperature),
        query,
        keys,
    )


def test_one_positive_a_cell_is_info_nce(draw):
    query, keys, negatives = draw((2, 3, 6), (2, 3, 6), (7, 6))
    mask = torch.eye(3, dtype=torch.bool).expand(2, -1, -1)
    got = set_info_nce(query, keys, mask, 0.2, negatives)
    want = L.info_nce(query.flatten(0, 1), keys.flatten(0, 1), negatives, 0.2)
    torch.testing.assert_close(got, want)


def test_no_positive_is_zero_with_zero_gradient(draw):
    query, keys, negatives = draw((2, 3, 6), (2, 3, 6), (7, 6))
    query.requires_grad_()
    none = torch.zeros(2, 3, 3, dtype=torch.bool)
    loss = set_info_nce(query, keys, none, 0.2, negatives)
    loss.backward()
    assert loss.item() == 0
    assert (query.grad == 0).all()


@pytest.mark.parametrize('queue', [True, False])
def test_positives_outside_of_the_logarithm_cost_more(draw, queue):
    """The mean of logarithms is at least the logarithm of the mean, which is that of the sum plus log P."""
    query, keys, negatives = draw((2, 6, 4), (2, 6, 4), (9, 4))
    positives = torch.rand(2, 6, 6) < 0.5
    options = (0.3, negatives if queue else None)
    outside, inside = (terms(query, keys, positives, *options, form=form) for form in ('out', 'in'))
    assert positives.any(-1).all()
    assert (outside >= inside + positives.sum(-1).clamp(min=1).log() - 1e-12).all()


def test_own_cells_as_negatives_make_it_a_softmax_over_all_keys(draw):
    query, keys = draw((2, 6, 4), (2, 6, 4))
    positives = torch.rand(2, 6, 6) < 0.5
    log_shares = (unit(query) @ unit(keys).transpose(1, 2) / 0.3).log_softmax(-1)
    want = -(log_shares * positives).sum(-1) / positives.sum(-1).clamp(min=1)
    torch.testing.assert_close(terms(query, keys, positives, 0.3, form='out'), want)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32])
def test_in_autocast_it_is_float32(draw, positives, dtype):
    query, keys, negatives = (x.to(dtype) for x in draw((3, 4, 6), (3, 5, 6), (7, 6)))
    with torch.autocast('cpu', torch.bfloat16):
        loss = set_info_nce(query, keys, positives, 0.2, negatives)
    assert loss.dtype == torch.float32
    want = set_info_nce(query.float(), keys.float(), positives, 0.2, negatives.float())
    torch.testing.assert_close(loss, want)
