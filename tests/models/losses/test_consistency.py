"""The objectives on cells: diagnostics, schedules, the queue."""

import pytest
import torch

from densecl.models.losses import MultiPositive, Samples
from densecl.models.losses.functional import multi_positive_info_nce
from densecl.schedule import Clock


@pytest.fixture
def cells():
    generator = torch.Generator().manual_seed(0)
    query, keys = torch.randn(2, 4, 6, 5, generator=generator, dtype=torch.float64).unbind()
    positives = torch.rand(4, 6, 6, generator=generator) < 0.4
    positives[0] = False
    return query, keys, positives


def mean_cosine(query, keys, positives):
    cosine = torch.cosine_similarity(query[:, :, None], keys[:, None], dim=-1)
    return cosine[positives].mean()


def test_own_cells_as_negatives(cells):
    objective = MultiPositive(temperature=0.3)
    loss, diagnostics = objective(*cells)
    torch.testing.assert_close(loss, multi_positive_info_nce(*cells, 0.3))
    torch.testing.assert_close(diagnostics['pos_sim'], mean_cosine(*cells))
    assert objective.queue is None and not objective.state_dict()


def test_queue_of_pooled_keys(cells):
    query, keys, positives = cells
    objective = MultiPositive(temperature=0.2, queue=7, dim=5).double()
    before = objective.queue.keys.clone()
    loss, _ = objective(query, keys, positives, Samples(indices=torch.tensor([4, 9, 2, 8])))
    torch.testing.assert_close(
        loss, multi_positive_info_nce(query, keys, positives, 0.2, before)
    )
    pooled = torch.nn.functional.normalize(keys.mean(1), dim=1)
    torch.testing.assert_close(objective.queue.keys[:4], pooled)
    assert objective.queue.images.tolist() == [4, 9, 2, 8, -1, -1, -1]
    assert torch.equal(objective.queue.keys[4:], before[4:]) and objective.queue.enqueued == 4
    objective.eval()(query, keys, positives)
    assert objective.queue.enqueued == 4


def test_the_queue_may_move_on_before_the_backward_pass(cells):
    query, keys, positives = cells
    query = query.clone().requires_grad_()
    objective = MultiPositive(temperature=0.2, queue=7, dim=5).double()
    before = objective.queue.keys.clone()
    objective(query, keys, positives)[0].backward()
    again = query.detach().clone().requires_grad_()
    multi_positive_info_nce(again, keys, positives, 0.2, before).backward()
    torch.testing.assert_close(query.grad, again.grad)


def test_temperature_on_a_schedule(cells):
    objective = MultiPositive(temperature=dict(start=0.5, end=0.1))
    objective.temperature.clock = Clock(step=10, total=10)
    torch.testing.assert_close(objective(*cells)[0], multi_positive_info_nce(*cells, 0.1))


def test_learned_temperature_gets_a_gradient(cells):
    objective = MultiPositive(temperature=dict(type='densecl.LearnedTemperature', start=0.3)).double()
    loss, _ = objective(*cells)
    torch.testing.assert_close(loss, multi_positive_info_nce(*cells, 0.3), rtol=1e-6, atol=0)
    loss.backward()
    assert objective.temperature.log_scale.grad.abs() > 1e-3


def test_adaptive_temperature_sees_the_positive_pairs(cells):
    value = dict(type='densecl.AlignmentAdaptiveTemperature', value=0.3, alpha=0.5)
    expected = 0.3 * (1 + 0.5 * mean_cosine(*cells))
    torch.testing.assert_close(
        MultiPositive(temperature=value)(*cells)[0], multi_positive_info_nce(*cells, expected)
    )


def test_temperatures_per_query_are_refused():
    with pytest.raises(ValueError, match='TemperatureFree'):
        MultiPositive(temperature=dict(type='densecl.TemperatureFree'))


def test_without_positives_nothing_moves(cells):
    query, keys, positives = cells
    query = query.clone().requires_grad_()
    loss, diagnostics = MultiPositive(queue=7, dim=5).double()(query, keys, positives & False)
    loss.backward()
    assert loss == 0 and diagnostics['pos_sim'] == 0 and query.grad.abs().max() == 0


def test_setsim_s_form(cells):
    """Positives outside of the logarithm, mean image by image; and how many positives a cell has."""
    query, keys, positives = cells
    options = dict(form='out', per_image=True)
    objective = MultiPositive(temperature=0.3, queue=7, dim=5, **options).double()
    before = objective.queue.keys.clone()
    loss, diagnostics = objective(query, keys, positives)
    torch.testing.assert_close(
        loss, multi_positive_info_nce(query, keys, positives, 0.3, before, **options)
    )
    assert loss != multi_positive_info_nce(query, keys, positives, 0.3, before)
    torch.testing.assert_close(diagnostics['positives'], positives.sum() / positives.any(-1).sum())


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="'in' or 'out', got 'both'"):
        MultiPositive(form='both')
