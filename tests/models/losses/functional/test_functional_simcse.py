"""SimCSE's loss against its equations."""

import pytest
import torch
from oracles.sentences import simcse

from densecl.models.losses import InfoNCE
from densecl.models.losses.functional import info_nce, simcse_loss


def vectors(rows: int = 5, width: int = 7) -> list[torch.Tensor]:
    """First, second and hard negatives, of many lengths."""
    generator = torch.Generator().manual_seed(0)
    made = torch.randn(3, rows, width, dtype=torch.float64, generator=generator)
    return [(3 * x).requires_grad_() for x in made.unbind()]


@pytest.mark.parametrize('weight', [0.0, 1.0, -2.5])
@pytest.mark.parametrize('with_hard', [False, True])
@pytest.mark.parametrize('t', [0.05, 0.7])
def test_value_and_gradients(with_hard, t, weight):
    first, second, hard = vectors()
    given = [first, second, hard] if with_hard else [first, second]
    found = simcse_loss(*given, temperature=t, hard_negative_weight=weight)
    expected = simcse(first, second, hard if with_hard else None, t, weight)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    for a, b in zip(torch.autograd.grad(found, given), torch.autograd.grad(expected, given), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)


def test_gradient_by_differences():
    given = vectors(3, 4)
    assert torch.autograd.gradcheck(lambda *x: simcse_loss(*x, 0.3, 0.5), given)


def test_default_temperature_is_the_papers():
    first, second, _ = vectors()
    torch.testing.assert_close(simcse_loss(first, second), simcse(first, second, None, 0.05, 0.0))


def test_one_direction_alone():
    first, second, _ = vectors()
    assert abs(simcse_loss(first, second) - simcse_loss(second, first)) > 1e-3


def test_one_text_meets_its_hard_negative_alone():
    first, second, hard = vectors(1)
    assert simcse_loss(first, second) == 0
    torch.testing.assert_close(simcse_loss(first, second, hard), info_nce(first, second, hard, 0.05))


def test_a_weight_is_a_number_of_copies():
    """e^weight = 3: as if each text had three equal hard negatives of its own, and one of each other text."""
    first, second, hard = vectors(2)
    three = torch.tensor(3.0, dtype=torch.float64).log().item()
    terms = []
    for i in range(2):
        others = torch.cat([second[1 - i : 2 - i], hard, hard[i : i + 1], hard[i : i + 1]])
        terms.append(info_nce(first[i : i + 1], second[i : i + 1], others, 0.3))
    found = simcse_loss(first, second, hard, 0.3, three)
    torch.testing.assert_close(found, torch.stack(terms).mean())


def test_half_precision_keeps_its_range():
    first, second, hard = (x.detach() for x in vectors())
    found = simcse_loss(first.half(), second.half(), hard.half(), 0.05, 1.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), simcse(first, second, hard, 0.05, 1.0), rtol=2e-2, atol=2e-2)


def test_rows_must_agree():
    first, second, hard = vectors()
    for given, name in (((first, second[:3]), 'second'), ((first, second, hard[:, :2]), 'hard')):
        with pytest.raises(ValueError, match=f'first and {name} must hold the same texts'):
            simcse_loss(*given)


@pytest.mark.parametrize('options', [dict(batch='keys'), dict(batch='units', queue=5), dict(batch='views')])
def test_weight_of_own_units_needs_units(options):
    with pytest.raises(ValueError, match="own_weight goes with batch='units' and queue=0"):
        InfoNCE(**{'queue': 0, 'dim': 4, **options}, own_weight=1.0)


def test_weight_of_own_units_needs_a_temperature():
    with pytest.raises(ValueError, match='TemperatureFree has none'):
        InfoNCE(queue=0, batch='units', own_weight=1.0, temperature=dict(type='densecl.TemperatureFree'))
