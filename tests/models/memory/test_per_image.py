"""State per image: opened, closed, written, the same however a batch is spread."""

from pathlib import Path

import pytest
import torch
from oracles.comparisons import compare, set_clock, step
from torch.utils._python_dispatch import TorchDispatchMode

from densecl.models.losses import InfoNCE
from densecl.models.memory import PerImage
from densecl.models.memory.per_image import last_of_equals
from densecl.schedule import Clock
from densecl.structures import Batch

SCRIPT = Path(__file__).parents[2] / 'distributed' / 'per_image.py'


def batch_of(*indices):
    return Batch.numbered(torch.tensor(indices))


def test_means_of_a_step_are_those_of_all_rows_of_all_pairs():
    state = PerImage(7, 'X', number=0.5)
    totals = {}
    for indices in ((3, 5, 3), (5, 0, 6)):
        values = torch.randn(2, 6, dtype=torch.float64)
        counted = torch.tensor([True, True, False, True, False, False])
        for row in range(6):
            if counted[row]:
                totals.setdefault(indices[row // 2], []).append(values[:, row])
        values[:, 2] = torch.nan  # does not count
        state.collect(batch_of(*indices), counted, *values)
    assert (state.number == 0.5).all()  # nothing is written yet
    images, *means = state.close()
    assert sorted(images.tolist()) == [0, 3, 3, 5, 5, 6]
    for place, image in enumerate(images.tolist()):
        if image in totals:
            want = torch.stack(totals[image]).mean(0)
        else:
            want = torch.full((2,), torch.nan, dtype=torch.float64)
        torch.testing.assert_close(torch.stack(means)[:, place], want, equal_nan=True)
    assert 6 not in totals and len(totals[3]) == 2
    state.write(images, number=means[0])
    want = [float(totals[i][0][0]) if i in totals else 0.5 for i in range(7)]
    for image in (3, 5):
        want[image] = float(torch.stack(totals[image]).mean(0)[0])
    torch.testing.assert_close(state.number, torch.tensor(want))
    assert state.close() is None


def test_of_equal_integers_the_last():
    values = torch.randint(9, (200,))
    want = [max(j for j in range(200) if values[j] == v) for v in values]
    assert last_of_equals(values).tolist() == want


def test_rows_of_any_shape_of_which_the_last_counts():
    state = PerImage(4, 'X', vector=torch.tensor([1.0, 2.0]), seen=torch.tensor(False))
    assert state.vector.tolist() == [[1, 2]] * 4 and not state.seen.any()
    rows = torch.tensor([[3.0, 4.0], [5.0, 6.0], [7.0, torch.nan]], dtype=torch.float64)
    state.write(torch.tensor([2, 0, 2]), vector=rows, seen=torch.tensor([True] * 3))
    assert state.vector.tolist() == [[5, 6], [1, 2], [7, 2], [1, 2]]
    assert state.seen.tolist() == [True, False, True, False]
    assert state.read(batch_of(2, 2, 0), 'vector').tolist() == [[7, 2], [7, 2], [5, 6]]


def test_the_data_set_says_how_many_images_there_are():
    state = PerImage(None, 'X', number=1.0).double()
    with pytest.raises(ValueError, match='X: the number of images is not known'):
        state.read(batch_of(0), 'number')
    state.set_images(7)
    assert state.number.tolist() == [1.0] * 7 and state.number.dtype == torch.float64
    state.write(torch.tensor([2]), number=torch.tensor([3.0]))
    state.set_images(5)  # more than enough: as it was
    assert state.number[2] == 3
    with pytest.raises(ValueError, match='X keeps state for 7 images, the data set has 8: set images=8'):
        state.set_images(8)
    fresh = PerImage(None, 'X', number=1.0)
    fresh.load_state_dict(state.state_dict())
    assert torch.equal(fresh.number, state.number.float()) and fresh.images == 7


def test_refusals():
    with pytest.raises(ValueError, match='X: images must be at least 1, got 0'):
        PerImage(0, 'X', number=1.0)
    state = PerImage(3, 'X', number=1.0)
    for image in (3, -1):
        with pytest.raises(IndexError, match=rf'X\(images=3\) met image {image}: images must be'):
            state.read(batch_of(0, image), 'number')
    with pytest.raises(ValueError, match='X keeps state for each image, but batch.indices is None'):
        state.read(Batch(torch.arange(2)), 'number')


class NoWaiting(TorchDispatchMode):
    """Refuses what waits for a GPU: reading a number on the host, and shapes that depend on data."""

    WAITS = ('_local_scalar_dense', 'nonzero', '_unique', 'unique_', 'equal', 'masked_select', 'is_nonzero')

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix('aten::').split('.')[0]
        masks = name.startswith('index') and any(
            isinstance(x, torch.Tensor) and x.dtype == torch.bool
            for x in (args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ())
        )
        assert not masks and not any(name == w or name.startswith('_unique') for w in self.WAITS), name
        return func(*args, **(kwargs or {}))


PARTS = {
    'glofnd': dict(negatives=dict(type='densecl.GloFND', images=9, start=0)),
    'clusters': dict(negatives=dict(type='densecl.Clusters', images=9, dim=5, clusters=(2,), every=10)),
    'similar': dict(negatives=dict(type='densecl.SimilarImages', treatment='attraction')),
    'isogclr': dict(
        temperature=dict(type='densecl.PerSampleTemperature', images=9),
        negatives=dict(type='densecl.MovingAverage', images=9),
        decoupled=True,
    ),
}


@pytest.mark.parametrize('name', PARTS)
def test_a_step_waits_for_nothing(name):
    objective = InfoNCE(queue=12, dim=5, batch='views', **PARTS[name]).train()
    set_clock(objective, Clock(step=1, total=100, epoch=10))
    views = torch.randn(2, 4, 5).requires_grad_()
    indices = torch.tensor([8, 2, 8, 0])
    with NoWaiting():
        loss = step(objective, compare(*views, indices), compare(*views.flip(0), indices))
        loss.backward()
    assert views.grad.any()


def test_the_check_for_waiting_sees_it():
    x = torch.arange(3)
    for wait in (lambda: x.unique(), lambda: x[x > 1], lambda: bool(x.sum()), lambda: torch.equal(x, x)):
        with pytest.raises(AssertionError), NoWaiting():
            wait()


def test_processes_agree_on_images_that_repeat_within_and_between_them(over_processes):
    (one,) = over_processes(SCRIPT, 1)
    for mine in over_processes(SCRIPT, 2):
        torch.testing.assert_close(mine, one, rtol=0, atol=1e-12)
