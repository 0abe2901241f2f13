"""Slots that compete for cells, against loops in float64."""

import pytest
import torch

from densecl.models.necks.slots import active_slots, slot_attention

DOUBLE = dict(dtype=torch.float64)


def naive_attention(maps, slots, temperature, epsilon=1e-6):
    """One cell and one slot at a time."""
    batch, width, rows, columns = maps.shape
    vectors = torch.zeros(batch, len(slots), width, **DOUBLE)
    scores = torch.zeros(batch, len(slots), rows, columns, **DOUBLE)
    for b in range(batch):
        total = torch.zeros(len(slots), **DOUBLE)
        for i in range(rows):
            for j in range(columns):
                cell = maps[b, :, i, j]
                cosines = torch.stack([s @ cell / (s.norm() * cell.norm()) for s in slots])
                exponents = (cosines / temperature).exp()
                shares = exponents / exponents.sum() + epsilon
                scores[b, :, i, j] = cosines
                vectors[b] += shares[:, None] * cell
                total += shares
        vectors[b] /= total[:, None]
    return vectors, scores


@pytest.mark.parametrize('temperature', [0.07, 1.0])
def test_attention_equals_loops(temperature):
    maps, slots = torch.randn(2, 5, 3, 4, **DOUBLE), torch.randn(7, 5, **DOUBLE)
    for got, want in zip(
        slot_attention(maps, slots, temperature),
        naive_attention(maps, slots, temperature),
        strict=True,
    ):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_slots_are_means_of_vectors_as_they_are():
    """Two cells, two slots, far apart: each slot is its cell, length included."""
    maps = torch.tensor([[3.0, 0.0], [0.0, 0.5]], **DOUBLE)[None, :, None]  # cells (3, 0), (0, .5)
    vectors, scores = slot_attention(maps, torch.eye(2, **DOUBLE) * 9, 0.01)
    torch.testing.assert_close(vectors[0], torch.tensor([[3.0, 0], [0, 0.5]], **DOUBLE), atol=1e-5, rtol=0)
    torch.testing.assert_close(scores[0, :, 0], torch.eye(2, **DOUBLE))


def test_a_slot_without_cells_is_the_mean_of_all():
    maps = torch.randn(1, 2, 2, 2, **DOUBLE)
    maps[:, 0] = maps[:, 0].abs() + 5  # all to the right
    vectors, _ = slot_attention(maps, torch.tensor([[1.0, 0], [-1.0, 0]], **DOUBLE), 0.07)
    torch.testing.assert_close(vectors[0, 1], maps.mean((2, 3))[0], rtol=1e-4, atol=1e-4)


def test_attention_in_half_precision_and_its_gradient():
    maps, slots = torch.randn(2, 4, 2, 2), torch.randn(3, 4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        vectors, scores = slot_attention(maps, slots, 0.1)
    want = slot_attention(maps, slots, 0.1)
    assert torch.equal(vectors, want[0]) and torch.equal(scores, want[1])
    inputs = [x.double().requires_grad_() for x in (maps, slots)]
    assert torch.autograd.gradcheck(lambda m, s: slot_attention(m, s, 0.5), inputs)


def test_active_slots_win_a_cell():
    scores = torch.randn(4, 6, 3, 2)
    for b, row in enumerate(active_slots(scores)):
        winners = {int(scores[b, :, i, j].argmax()) for i in range(3) for j in range(2)}
        assert set(row.nonzero().flatten().tolist()) == winners
