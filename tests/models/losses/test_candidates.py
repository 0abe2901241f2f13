"""The candidates of a contrastive loss: how many there are, and the most similar one."""

import pytest
import torch

from densecl.models.losses.candidates import Candidates, Pairs, Scores
from densecl.numerics import unit


def vectors(count: int, width: int = 6) -> torch.Tensor:
    return unit(torch.randn(count, width, generator=torch.Generator().manual_seed(count)))


@pytest.mark.parametrize(
    'more',
    [
        dict(),
        dict(there=torch.tensor([1, 1, 0, 0, 1], dtype=torch.uint8)),
        dict(place=torch.tensor([0, 1, 0, 0, -1]), left_out=torch.zeros(4, dtype=torch.int64)),
        dict(filters=[lambda columns, cosines: cosines < 0.2]),
    ],
    ids=['other images', 'some are not there', 'of the own image', 'by a rule'],
)
def test_the_number_of_candidates_is_that_of_the_kept_pairs(more):
    query, keys = vectors(4), vectors(5)
    found = Candidates(keys, images=torch.tensor([0, 0, 1, 2, 3]), own=torch.arange(4), **more)
    kept = found.keep(slice(0, 5), query @ keys.T)
    assert found.count(query).tolist() == kept.sum(1).tolist()
    assert 0 < kept.sum() < 20


def test_the_bonus_of_own_units_is_no_part_of_the_largest_cosine():
    query, own = vectors(3), vectors(7)[None].expand(3, 7, 6)
    pairs = Pairs.between(query[:, None], own, torch.ones(3, 1, 7, dtype=torch.bool))
    pairs.bonus = 5.0
    scores = Scores(query, query[:, 0], Candidates(vectors(5), pairs=pairs), 0.1, None)
    cosines = torch.cat([query @ vectors(5).T, query @ vectors(7).T], 1)
    logits = cosines / 0.1 + torch.tensor([0.0] * 5 + [5.0] * 7)
    torch.testing.assert_close(scores.logsumexp(), logits.logsumexp(1))
    torch.testing.assert_close(scores.hardest, cosines.amax(1))
