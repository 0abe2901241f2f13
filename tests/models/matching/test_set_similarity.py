"""SetSim's sets of positives, against loops."""

import pytest
import torch
import torch.nn.functional as F

from densecl.models.matching import SetSimilarity, match_by_location
from densecl.models.matching.set_similarity import attention
from tests.models.matching.sets import cells_of, images


def naive_attention(features):
    found = []
    for image in features.double():
        energy = [(cell**2).mean() for cell in image]
        low, high = min(energy), max(energy)
        found.append([float((e - low) / (high - low)) for e in energy])
    return found


def naive_match(query, key, threshold, similarity):
    first, second = naive_attention(query), naive_attention(key)
    mask = torch.zeros(len(query), len(first[0]), len(second[0]), dtype=torch.bool)
    for b in range(len(query)):
        q, k = query[b].double(), key[b].double()
        for n in range(len(q)):
            for m in range(len(k)):
                cosine = q[n] @ k[m] / q[n].norm() / k[m].norm()
                salient = first[b][n] >= threshold and second[b][m] >= threshold
                mask[b, n, m] = salient and cosine >= similarity
    return mask


def mask(query, key, *args, **kwargs):
    return SetSimilarity(*args, **kwargs)(query, key, images()).mask


def test_attention_spans_zero_to_one():
    features = torch.rand(3, 24, 5)
    got = attention(features)
    torch.testing.assert_close(got.tolist(), naive_attention(features), rtol=1e-5, atol=1e-6)
    assert (got.amin(1) == 0).all() and (got.amax(1) == 1).all()
    assert (attention(torch.ones(2, 24, 5)) == 0).all()


@pytest.mark.parametrize('seed', range(8))
def test_by_attention(seed):
    query, key = cells_of((4, 4), seed), cells_of((3, 5), seed + 50)
    got = mask(query, key, 0.5, 0.2, None)
    assert torch.equal(got, naive_match(query.features, key.features, 0.5, 0.2))
    assert got.any() and not got.all()


def test_union_with_location():
    query, key = cells_of((4, 4), 0), cells_of((4, 4), 1)
    a, b = query.place, key.place
    near = match_by_location(a.shares(), a.flipped, (4, 4), b.shares(), b.flipped, (4, 4), 0.5)
    salient = naive_match(query.features, key.features, 0.5, 0.2)
    assert (near & ~salient).any() and (salient & ~near).any()
    assert torch.equal(mask(query, key, 0.5, 0.2, 0.5), near | salient)
    assert torch.equal(mask(query, key, None, 0.2, 0.5), near)


def test_nearest_joins_cells_that_have_a_positive():
    query, key = cells_of((4, 4), 0), cells_of((4, 4), 1)
    without, more = mask(query, key, 0.5, 0.2, 0.5), mask(query, key, 0.5, 0.2, 0.5, nearest=True)
    q, k = (F.normalize(units.features, dim=2) for units in (query, key))
    best = (q @ k.transpose(1, 2)).argmax(-1)
    assert (more & ~without).any()
    for b, n, m in (more & ~without).nonzero().tolist():
        assert best[b, n] == m and without[b, n].any()
    assert torch.equal(more.any(-1), without.any(-1))
    assert more.gather(2, best[..., None])[..., 0][without.any(-1)].all()


def test_what_it_needs_and_nothing_to_match_by():
    assert SetSimilarity(location=None).needs == {'features'}
    assert SetSimilarity().needs == {'features', 'grid', 'place'}
    with pytest.raises(ValueError, match='nothing would match'):
        SetSimilarity(attention=None, location=None)
