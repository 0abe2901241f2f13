"""The memory bank against a dict of vectors, and what it draws."""

import math

import pytest
import torch

from densecl.models.memory import MemoryBank


def test_initial_vectors():
    bank = MemoryBank(2000, 48)
    bound = math.sqrt(3 / 48)
    assert float(bank.vectors.abs().max()) <= bound < 1.001 * float(bank.vectors.abs().max())
    assert float(bank.vectors.var()) == pytest.approx(bound**2 / 3, rel=0.02)
    torch.manual_seed(5)
    assert torch.equal(MemoryBank(2000, 48).vectors, bank.vectors)  # the same in every process
    assert not torch.equal(MemoryBank(2000, 48, seed=1).vectors, bank.vectors)
    lengths = MemoryBank(100, 48, init='unit').vectors.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(100))


def test_updates_against_a_dict_of_vectors():
    bank = MemoryBank(9, 4, momentum=0.3).double()
    reference = {i: v.tolist() for i, v in enumerate(bank.vectors)}
    for images in ([3, 8, 0], [8, 5, 8, 5, 5, 1], [2], [8, 8]):
        features = torch.nn.functional.normalize(torch.randn(len(images), 4).double(), dim=1)
        before = {i: reference[i] for i in images}
        for i, f in zip(images, features.tolist(), strict=True):  # the last one wins
            mixed = [0.3 * m + 0.7 * x for m, x in zip(before[i], f, strict=True)]
            length = math.sqrt(sum(x * x for x in mixed))
            reference[i] = [x / length for x in mixed]
        bank.update(torch.tensor(images), features)
        want = torch.tensor([reference[i] for i in range(9)], dtype=torch.float64)
        torch.testing.assert_close(bank.vectors, want, rtol=0, atol=1e-12)


def test_draws_are_uniform_and_independent():
    bank = MemoryBank(40, 2)
    drawn = bank.draw(torch.arange(40), 5000, torch.tensor(0))
    assert drawn.shape == (40, 5000)
    expected = 40 * 5000 / 40
    chi = ((torch.bincount(drawn.flatten(), minlength=40) - expected) ** 2 / expected).sum()
    assert 12 < float(chi) < 82  # 39 degrees of freedom, p = 1e-5 on each side
    pairs = drawn[:, 1:] * 40 + drawn[:, :-1]  # one draw says nothing of the next
    expected = pairs.numel() / 1600
    chi = ((torch.bincount(pairs.flatten(), minlength=1600) - expected) ** 2 / expected).sum()
    assert float(chi) == pytest.approx(1599, abs=5 * math.sqrt(2 * 1599))
    same = (drawn[:-1] == drawn[1:]).double().mean()  # nor one image of the next
    assert float(same) == pytest.approx(1 / 40, abs=0.002)


def test_draws_depend_on_seed_number_and_image_alone():
    bank = MemoryBank(1000, 2, seed=3)
    images = torch.tensor([7, 900, 0, 7])
    drawn = bank.draw(images, 64, torch.tensor(5))
    assert torch.equal(bank.draw(images[2:], 64, torch.tensor(5)), drawn[2:])
    assert torch.equal(bank.draw(images, 10, torch.tensor(5)), drawn[:, :10])
    assert torch.equal(drawn[0], drawn[3])
    assert not torch.equal(bank.draw(images, 64, torch.tensor(6)), drawn)
    assert not torch.equal(MemoryBank(1000, 2, seed=4).draw(images, 64, torch.tensor(5)), drawn)


def test_a_reference_draw():
    """SplitMix64 in Python's integers."""
    mask, gamma = 2**64 - 1, 0x9E3779B97F4A7C15

    def mix(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    stream = mix((mix(11 + 2 * 1_000_003) + 43 * gamma) & mask)
    want = [(mix((stream + k * gamma) & mask) & (2**63 - 1)) % 77 for k in range(1, 9)]
    bank = MemoryBank(77, 2, seed=2)
    assert bank.draw(torch.tensor([42]), 8, torch.tensor(11)).tolist() == [want]


def test_size_may_come_later():
    bank = MemoryBank(None, 6).double()
    assert len(bank) == 0
    bank.set_images(12)
    assert bank.vectors.dtype == torch.float64
    torch.testing.assert_close(bank.vectors.float(), MemoryBank(12, 6).vectors)
    fresh = MemoryBank(None, 6)
    fresh.load_state_dict(bank.state_dict())
    torch.testing.assert_close(fresh.vectors.double(), bank.vectors, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(init='x'), "'uniform' or 'unit', got 'x'"),
        (dict(momentum=1.0), r'momentum must lie in \[0, 1\), got 1.0'),
        (dict(images=0), 'images must be at least 1, got 0'),
    ],
)
def test_refusals(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MemoryBank(**{'images': 3, 'dim': 2, **kwargs})
