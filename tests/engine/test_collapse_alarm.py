"""What makes the alarm ring: few different answers, and far fewer than before."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub

from densecl.engine.hooks import CollapseHook


def cone(spread, seed=0):
    """32 rows around one direction of 16."""
    generator = torch.Generator().manual_seed(seed)
    return torch.eye(16)[0] + spread * torch.randn(32, 16, generator=generator)


def alarms(rows=(), groups=(), judged=('image',)):
    """Numbers of the measurements that were complained of; two iterations each, of the same rows."""
    model = SimpleNamespace(heads=dict(image=None), queues=dict, may_collapse=lambda: judged)
    runner = SimpleNamespace(model=model, hooks=[], train_dataloader=range(1000))
    runner.message_hub = MessageHub(f'alarm {torch.rand(1).item()}')
    found = []
    runner.logger = SimpleNamespace(warning=lambda message: found.append((number, message)))
    hook = CollapseHook(interval=2, samples=64, patience=3)
    for number in range(max(len(rows), len(groups))):
        model.watched = dict(image=(rows[number] if rows else cone(1.0, number), None))
        for half in range(2):
            if groups:
                runner.message_hub.update_scalar('train/image_groups', groups[number])
            hook.after_train_iter(runner, 2 * number + half)
    assert all('head image' in message for _, message in found)
    return [number for number, _ in found]


WIDE, NARROW = cone(1.0), cone(0.05)


def test_a_fall_to_almost_one_embedding_rings_after_patience_and_again():
    assert alarms([WIDE] * 4 + [NARROW] * 8) == [8, 11]  # the first narrow one still has wide rows beside it
    assert alarms([WIDE] * 4 + [NARROW] * 3 + [WIDE] * 3 + [NARROW] * 3) == []


def test_a_head_that_begins_in_a_narrow_cone_may_stay_there_or_grow():
    assert alarms([cone(0.05, n) for n in range(12)]) == []
    assert alarms([cone(0.02 * 1.2**n) for n in range(12)]) == []


def test_noise_that_gives_way_to_some_directions_is_no_collapse():
    some = torch.eye(16)[:3].repeat(11, 1)
    assert alarms([torch.randn(32, 16)] * 4 + [some] * 8) == []


@pytest.mark.parametrize('spread', [0.0, 0.005])
def test_one_embedding_from_the_start_rings(spread):
    assert alarms([cone(spread)] * 4) == [2 if spread == 0 else 3]  # 1 is no growth


def test_prototypes_are_judged_by_their_groups():
    assert alarms(groups=[9.0, 9.5, 4.0, 3.0, 2.1, 2.2, 2.1], judged=()) == []
    assert alarms(groups=[9.0, 9.5, 4.0, 1.9, 1.8, 1.7, 1.9], judged=()) == [5]
    assert alarms(groups=[1.06, 1.2, 1.1, 1.1, 1.1, 1.3, 2.0, 6.0], judged=()) == []
    assert alarms(groups=[1.0, 1.0, 1.0], judged=()) == [2]


def test_embeddings_of_heads_with_given_answers_raise_no_alarm():
    assert alarms([WIDE] * 4 + [NARROW] * 8, judged=()) == []
