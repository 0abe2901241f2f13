"""The region memory against one Python deque a class."""

from collections import deque

import pytest
import torch
import torch.nn.functional as F

from densecl.models.memory import RegionMemory
from densecl.models.memory.regions import number_among_equals, region_means

CLASSES, LENGTH, DIM = 4, 5, 3


def batches(counts, seed=0):
    """Unit vectors with random classes, some of them -1."""
    generator = torch.Generator().manual_seed(seed)
    for count in counts:
        labels = torch.randint(-1, CLASSES, (count,), generator=generator)
        yield F.normalize(torch.randn(count, DIM, generator=generator), dim=1), labels


@pytest.mark.parametrize('counts', [[3] * 20, [1, 7, 2, 30, 4, 0, 9], [60], [0, 0], [11, 13, 17, 19]])
def test_keeps_exactly_the_newest_of_each_class(counts):
    memory = RegionMemory(CLASSES, LENGTH, DIM)
    rings = [deque(maxlen=LENGTH) for _ in range(CLASSES)]
    written = [0] * CLASSES
    for vectors, labels in batches(counts):
        memory.enqueue(vectors, labels)
        for vector, label in zip(vectors, labels.tolist(), strict=True):
            if label >= 0:
                rings[label].append(vector.tolist())
                written[label] += 1
        keys, classes = memory.read()
        for c, ring in enumerate(rings):
            assert sorted(keys[classes == c].tolist()) == sorted(ring)
        assert memory.pointers.tolist() == [n % LENGTH for n in written]
        assert memory.enqueued.tolist() == written
        assert float(memory.filled) == pytest.approx(sum(map(len, rings)) / CLASSES / LENGTH)


def test_overwrites_the_oldest_first_and_wraps():
    memory = RegionMemory(2, 4, 1)
    for values in ([1.0, 2, 3], [4, 5]):
        memory.enqueue(torch.tensor(values)[:, None], torch.zeros(len(values), dtype=torch.long))
    assert memory.keys[0, :, 0].tolist() == [5, 2, 3, 4]  # the official code would write 5 at the tail
    assert memory.keys[1].abs().sum() == 0


def test_empty_slots_are_not_read_and_what_is_read_is_a_copy():
    memory = RegionMemory(3, 4, 2)
    keys, classes = memory.read()
    assert keys.shape == (0, 2) and classes.shape == (0,)
    memory.enqueue(torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([2, 0]))
    keys, classes = memory.read()
    assert classes.tolist() == [0, 2]  # class 0 is there
    assert keys.tolist() == [[0, 1], [1, 0]]
    keys.zero_()
    assert memory.read()[0].abs().sum() == 2


def test_state_dict_restores_content_and_positions():
    memory, other = RegionMemory(CLASSES, LENGTH, DIM), RegionMemory(CLASSES, LENGTH, DIM)
    first, second = batches([23, 9])
    memory.enqueue(*first)
    other.load_state_dict(memory.state_dict())
    for each in (memory, other):
        each.enqueue(*second)
    for name, value in memory.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_numbers_among_equals():
    assert number_among_equals(torch.tensor([4, 1, 4, 4, 1, 9])).tolist() == [0, 0, 1, 2, 1, 0]
    assert number_among_equals(torch.tensor([], dtype=torch.long)).tolist() == []


def test_region_means_image_by_image():
    pixels = F.normalize(torch.randn(2, 6, DIM), dim=-1)
    labels = torch.tensor([[0, 2, 2, -1, 0, 2], [-1, -1, -1, -1, -1, 3]])
    means, classes = region_means(pixels, labels, CLASSES)
    assert classes.tolist() == [0, -1, 2, -1, -1, -1, -1, 3]
    want = torch.zeros(8, DIM)
    want[0] = F.normalize((pixels[0, 0] + pixels[0, 4]) / 2, dim=0)
    want[2] = F.normalize((pixels[0, 1] + pixels[0, 2] + pixels[0, 5]) / 3, dim=0)
    want[7] = pixels[1, 5]
    torch.testing.assert_close(means, want)


def test_refuses_an_empty_memory():
    with pytest.raises(ValueError, match='at least 1, got 3, 0 and 2'):
        RegionMemory(3, 0, 2)
