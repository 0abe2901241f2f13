"""SetSim's sets of positives, against loops."""

import pytest
import torch

from densecl.models.matching import SetSimilarity, ViewMaps, match_by_attention, match_by_location
from densecl.models.matching.attention import attention


def naive_attention(features):
    found = []
    for image in features.double():
        energy = [(image[:, y, x] ** 2).mean() for y in range(image.shape[1]) for x in range(image.shape[2])]
        low, high = min(energy), max(energy)
        found.append([float((e - low) / (high - low)) for e in energy])
    return found


def naive_match(query, key, threshold, similarity):
    first, second = naive_attention(query), naive_attention(key)
    mask = torch.zeros(len(query), len(first[0]), len(second[0]), dtype=torch.bool)
    for b in range(len(query)):
        q, k = query[b].double().flatten(1).T, key[b].double().flatten(1).T
        for n in range(len(q)):
            for m in range(len(k)):
                cosine = q[n] @ k[m] / q[n].norm() / k[m].norm()
                salient = first[b][n] >= threshold and second[b][m] >= threshold
                mask[b, n, m] = salient and cosine >= similarity
    return mask


def view(grid, seed, batch=4):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(batch, 2, generator=generator) * 100
    boxes = torch.cat([corner, corner + 60], 1)
    flipped = torch.rand(batch, generator=generator) < 0.5
    features = torch.randn(batch, 3, *grid, generator=generator).relu()
    return ViewMaps(features, features, boxes, flipped, torch.full((batch, 2), 200.0))


def test_attention_spans_zero_to_one():
    features = torch.rand(3, 5, 4, 6)
    got = attention(features)
    torch.testing.assert_close(got.tolist(), naive_attention(features), rtol=1e-5, atol=1e-6)
    assert (got.amin(1) == 0).all() and (got.amax(1) == 1).all()
    assert (attention(torch.ones(2, 5, 4, 6)) == 0).all()


@pytest.mark.parametrize('seed', range(8))
def test_match_by_attention(seed):
    query, key = view((4, 4), seed).features, view((3, 5), seed + 50).features
    got = match_by_attention(query, key, 0.5, 0.2)
    assert torch.equal(got, naive_match(query, key, 0.5, 0.2))
    assert got.any() and not got.all()


def test_union_with_location():
    query, key = view((4, 4), 0), view((4, 4), 1)
    near = match_by_location(
        query.shares(), query.flipped, (4, 4), key.shares(), key.flipped, (4, 4), 0.5
    )
    salient = match_by_attention(query.features, key.features, 0.5, 0.2)
    assert (near & ~salient).any() and (salient & ~near).any()
    assert torch.equal(SetSimilarity(0.5, 0.2, 0.5)(query, key), near | salient)
    assert torch.equal(SetSimilarity(None, 0.2, 0.5)(query, key), near)
    assert torch.equal(SetSimilarity(0.5, 0.2, None)(query, key), salient)


def test_nearest_joins_cells_that_have_a_positive():
    query, key = view((4, 4), 0), view((4, 4), 1)
    without = SetSimilarity(0.5, 0.2, 0.5)(query, key)
    more = SetSimilarity(0.5, 0.2, 0.5, nearest=True)(query, key)
    q, k = (torch.nn.functional.normalize(v.features.flatten(2), dim=1) for v in (query, key))
    best = (q.transpose(1, 2) @ k).argmax(-1)
    for b, n, m in (more & ~without).nonzero().tolist():
        assert best[b, n] == m and without[b, n].any()
    assert torch.equal(more.any(-1), without.any(-1))
    assert more.gather(2, best[..., None])[..., 0][without.any(-1)].all()


def test_nothing_to_match_by():
    with pytest.raises(ValueError, match='nothing would match'):
        SetSimilarity(attention=None, location=None)
