"""Some levels of a feature pyramid: those levels of the stock one, and its names."""

import pytest
import torch
from mmdet.registry import MODELS as DET_MODELS
from mmdet.utils import register_all_modules

from densecl.models.necks import PartialFPN

WIDTHS = [8, 16, 24, 32]


def stock(norm=False, widths=WIDTHS):
    register_all_modules(init_default_scope=False)
    cfg = dict(type='FPN', in_channels=widths, out_channels=12, num_outs=len(widths))
    if norm:
        cfg['norm_cfg'] = dict(type='BN')
    return DET_MODELS.build(cfg)


def inputs():
    torch.manual_seed(0)
    return [torch.randn(2, c, s, s + 1) for c, s in zip(WIDTHS, (33, 17, 9, 5), strict=True)]


@pytest.mark.parametrize('norm', [False, True])
@pytest.mark.parametrize('levels', [(1, 2), (2,), (0, 3)])
def test_levels_of_the_stock_pyramid(levels, norm):
    """By name and by value: with its tensors, the same outputs; and the last input for other heads."""
    whole, part = stock(norm), PartialFPN(WIDTHS, 12, levels, norm)
    given, wanted = whole.state_dict(), part.state_dict()
    assert set(wanted) < set(given)
    part.load_state_dict({name: given[name] for name in wanted})
    *found, last = part(inputs())
    expected = whole(inputs())
    assert len(found) == len(levels) and last.shape == (2, 32, 5, 6)
    for output, level in zip(found, levels, strict=True):
        torch.testing.assert_close(output, expected[level])


def test_every_parameter_is_used():
    part = PartialFPN(WIDTHS, 12)
    names = dict(part.named_parameters())
    assert len(names) == 10  # three lateral and two output convolutions, with biases
    *outputs, _ = part(inputs())
    sum(x.square().sum() for x in outputs).backward()
    assert all(p.grad.abs().sum() > 0 for p in names.values())
    assert all((p == 0).all() for name, p in names.items() if name.endswith('bias'))


def test_errors():
    with pytest.raises(ValueError, match=r'0 to 3, got \(1, 4\)'):
        PartialFPN(WIDTHS, levels=(1, 4))
    with pytest.raises(ValueError, match='names 4 levels, the backbone gives 3'):
        PartialFPN(WIDTHS)(inputs()[1:])
