"""The queue against a Python deque."""

from collections import deque

import pytest
import torch

from densecl.models.memory import Queue


def unit_rows(n, dim=3):
    return torch.nn.functional.normalize(torch.randn(n, dim), dim=1)


@pytest.mark.parametrize('batches', [[3, 3, 3, 3, 3], [1, 5, 2, 7, 4, 3], [7, 7], [6, 1], [9, 2], [20]])
def test_keeps_exactly_the_newest_keys_for_any_batch(batches):
    queue = Queue(7, 3)
    newest = deque(queue.keys.clone(), maxlen=7)
    for count in batches:
        keys = unit_rows(count)
        queue.enqueue(keys)
        newest.extend(keys)
    mine = sorted(row.tolist() for row in queue.keys)
    assert mine == sorted(row.tolist() for row in newest)
    assert int(queue.pointer) == sum(batches) % 7
    assert int(queue.enqueued) == sum(batches)


def test_overwrites_the_oldest_first_and_wraps():
    queue = Queue(4, 3)
    first, second = unit_rows(3), unit_rows(3)
    queue.enqueue(first)
    queue.enqueue(second)
    torch.testing.assert_close(queue.keys, torch.stack([*second[1:], first[2], second[0]]))


def test_starts_with_random_unit_vectors_and_knows_which_are_real():
    queue = Queue(10, 16)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(10))
    assert not queue.filled().any()
    queue.enqueue(unit_rows(4, 16))
    loaded = Queue(10, 16)
    loaded.load_state_dict(queue.state_dict())
    for each in (queue, loaded):
        assert each.filled().tolist() == [True] * 4 + [False] * 6
        each.enqueue(unit_rows(5, 16))
        assert not each.filled().all()
        each.enqueue(unit_rows(1, 16))
        assert each.filled().all()


@pytest.mark.parametrize('batches', [[3, 5, 3], [1, 9, 4], [7, 8], [20, 1]])
def test_what_is_not_valid_does_not_enter(batches):
    """As if it had not been in the batch, images included; a batch of nothing changes nothing."""
    generator = torch.Generator().manual_seed(len(batches))
    queue = Queue(7, 3)
    other = Queue(7, 3)
    other.load_state_dict(queue.state_dict())
    for number, count in enumerate(batches):
        keys, valid = unit_rows(count), torch.rand(count, generator=generator) < 0.6
        images = torch.arange(count) + 100 * number
        queue.enqueue(keys, images, valid)
        other.enqueue(keys[valid], images[valid])
        queue.enqueue(unit_rows(4), torch.arange(4), torch.zeros(4, dtype=torch.bool))
        for name, value in other.state_dict().items():
            assert torch.equal(queue.state_dict()[name], value), name
    assert 0 < int(queue.enqueued) < sum(batches)


def test_state_dict_restores_content_and_position():
    queue, other = Queue(5, 3), Queue(5, 3)
    queue.enqueue(unit_rows(3))
    other.load_state_dict(queue.state_dict())
    keys = unit_rows(4)
    queue.enqueue(keys)
    other.enqueue(keys)
    assert torch.equal(queue.keys, other.keys)
    assert torch.equal(queue.pointer, other.pointer)


def test_refuses_an_empty_queue():
    with pytest.raises(ValueError, match='at least 1'):
        Queue(0, 3)


def test_zeros_of_images_without_a_unit_do_not_enter():
    queue, keys = Queue(5, 3), unit_rows(4)
    keys[1] = 0
    queue.enqueue(keys, torch.arange(4))
    assert queue.images.tolist() == [0, 2, 3, -1, -1] and int(queue.enqueued) == 3
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(5))
