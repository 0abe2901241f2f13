"""Hard negatives as further units of one view, and supervised SimCSE of them."""

import pytest
import torch
from oracles.sentences import simcse

from densecl.structures import Batch
from tests.models.heads.made import Fixed, build, views_of

BATCH, WIDTH = 4, 6


def levels(count: int = 3, width: int = WIDTH) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = torch.randn(count, BATCH, width, 1, 1, dtype=torch.float64, generator=generator)
    return [x.requires_grad_() for x in made.unbind()]


def loss_of(maps, weight=0.0, units=None, **kwargs):
    head = build(
        units or dict(type='densecl.ImageWithHard', view=1, hard=(2,)),
        dict(type='densecl.InfoNCE', queue=0, batch='units', temperature=0.2, own_weight=weight),
        'densecl.SameId',
        pairs=((0, 1),),
        **kwargs,
    )
    views = views_of([torch.zeros(BATCH, 3, 8, 8)] * len(maps))
    branch = Fixed(*maps)
    return head.loss(branch, branch, views, Batch.of(views), head.projector), head


@pytest.mark.parametrize('weight', [0.0, 1.5])
def test_head_is_supervised_simcse(weight):
    maps = levels()
    result, _ = loss_of(maps, weight)
    expected = simcse(*(x.flatten(1) for x in maps), 0.2, weight)
    torch.testing.assert_close(result.loss, expected, rtol=1e-9, atol=1e-12)
    found, wanted = (torch.autograd.grad(x, maps) for x in (result.loss, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-10)


def test_several_hard_negatives_of_a_text():
    """All with weight 0: as a softmax over all texts."""
    maps = levels(4)
    result, head = loss_of(maps, units=dict(type='densecl.ImageWithHard', view=1, hard=(2, 3)))
    query, *keys = (torch.nn.functional.normalize(x.flatten(1), dim=1) for x in maps)
    logits = query @ torch.cat(keys).T / 0.2
    torch.testing.assert_close(result.loss, torch.nn.functional.cross_entropy(logits, torch.arange(BATCH)))
    assert head.needed(4) == {'online': {0}, 'target': {1, 2, 3}}


def test_all_are_projected():
    maps = levels()
    result, head = loss_of(
        maps, projector=dict(type='densecl.MLP', channels=(WIDTH, 5), last_activation='Tanh')
    )
    texts = [head.projector(x.flatten(1)) for x in maps]
    assert all(x.abs().max() < 1 for x in texts)
    torch.testing.assert_close(result.loss, simcse(*texts, 0.2, 0.0))


def test_another_rule_is_refused_by_name():
    with pytest.raises(ValueError, match='1 units of the query view cannot answer 2.*SameId'):
        head = build(
            'densecl.ImageWithHard',
            dict(type='densecl.InfoNCE', queue=0, batch='units'),
            'densecl.SameRow',
        )
        views = views_of([torch.zeros(BATCH, 3, 8, 8)] * 3)
        branch = Fixed(*levels())
        head.loss(branch, branch, views, Batch.of(views), head.projector)
