"""The three denominators, against loops."""

import pytest
import torch

from densecl.models.losses.means import check_mean, mean_of, own_mean

TERMS = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0], [64.0, 128.0, 256.0]], dtype=torch.float64)
COUNTED = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])


@pytest.mark.parametrize(
    ('how', 'want'),
    [('rows', (1 + 4 + 128) / 9), ('counted', (1 + 4 + 128) / 3), ('images', ((1 + 4) / 2 + 128) / 3)],
)
def test_what_a_mean_is_divided_by(how, want):
    assert mean_of(TERMS, COUNTED, how).item() == pytest.approx(want, rel=1e-12)
    assert mean_of(TERMS, None, how).item() == pytest.approx(TERMS.mean().item(), rel=1e-12)


@pytest.mark.parametrize('how', ['rows', 'counted', 'images'])
def test_what_does_not_count_may_be_nan_and_gets_no_gradient(how):
    terms = torch.where(COUNTED, TERMS, torch.nan).requires_grad_()
    mean_of(terms, COUNTED, how).backward()
    assert (terms.grad[~COUNTED] == 0).all() and (terms.grad[COUNTED] > 0).all()
    nothing = mean_of(terms, COUNTED & False, how)
    assert nothing.item() == 0 and nothing.requires_grad


def test_the_mean_for_the_log():
    assert own_mean(TERMS, COUNTED).item() == pytest.approx(133 / 3)
    assert own_mean(TERMS * torch.nan, COUNTED & False).item() == 0


def test_an_unknown_mean_is_named():
    with pytest.raises(ValueError, match="X: mean must be one of 'rows', 'counted'; got 'images'"):
        check_mean('images', 'X', ('rows', 'counted'))
