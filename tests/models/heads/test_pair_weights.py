"""Weights of pairs, against float64 forms, and what they do to a head's loss."""

import math

import numpy as np
import pytest
import torch

from densecl.models.heads import GivenQuality, PairQuality, foreground, pair_quality, quality_weights
from densecl.models.heads.head import Head
from densecl.structures import Batch
from tests.models.heads.made import views_of


def maps(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_hand(maps, others, shares, other_shares):
    """One image at a time in numpy."""
    found = []
    for b in range(len(maps)):
        cosines = []
        for background in (False, True):
            vectors = []
            for x, s in ((maps[b], shares[b]), (others[b], other_shares[b])):
                weight = 1 - s.numpy() if background else s.numpy()
                vectors.append((x.numpy() * weight).sum((1, 2)) / weight.sum())
            cosines.append(vectors[0] @ vectors[1] / math.prod(map(np.linalg.norm, vectors)))
        found.append(cosines[0] - cosines[1])
    return torch.tensor(np.array(found))


def test_quality_is_the_difference_of_both_cosines():
    first, second = maps(3, 5, 4, 4), maps(3, 5, 3, 6, seed=1)
    shares = maps(3, 4, 4, seed=2).sigmoid(), maps(3, 3, 6, seed=3).sigmoid()
    torch.testing.assert_close(pair_quality(first, second, *shares), by_hand(first, second, *shares))


def test_foreground_is_the_first_principal_direction():
    first, second = maps(4, 6, 5, 5), maps(4, 6, 3, 4, seed=1)
    object_ = maps(4, 6, seed=2) * 3
    first[:, :, 1:4, 1:4] += object_[:, :, None, None]
    second[:, :, 1:2, 1:3] += object_[:, :, None, None]
    found = foreground(first, second)
    for b in range(4):
        cells = torch.cat([first[b].flatten(1), second[b].flatten(1)], 1).T.numpy()
        cells = cells - cells.mean(0)
        along = cells @ np.linalg.svd(cells)[2][0]
        inside = np.zeros((5, 5), bool)
        inside[1:4, 1:4] = True
        along = along if along[:25][inside.ravel()].mean() > along[:25][~inside.ravel()].mean() else -along
        want = (along - along.min()) / (along.max() - along.min())
        both = torch.cat([x[b].flatten() for x in found]).numpy()
        np.testing.assert_allclose(both, want, atol=2e-3)
        assert found[0][b][1:4, 1:4].mean() > 0.6 > 0.5 > found[0][b][0].mean()


def test_weights_are_those_of_the_formula_and_have_the_mean_1():
    quality = torch.tensor([0.5, -0.2, 1.3], dtype=torch.float64, requires_grad=True)
    raw = [math.exp(2 * q) for q in quality.tolist()]
    found = quality_weights(quality, 2.0)
    torch.testing.assert_close(found, torch.tensor([3 * r / sum(raw) for r in raw]).double())
    assert not found.requires_grad and torch.equal(quality_weights(quality, 0.0), torch.ones(3).double())
    in_per_cent = torch.tensor([-300.0, 90, 95, 92])  # e^90 is more than float32 holds
    want = [0, *(4 * math.exp(q) / (math.exp(-5) + 1 + math.exp(-3)) for q in (-5, 0, -3))]
    torch.testing.assert_close(quality_weights(in_per_cent), torch.tensor(want))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_flat_maps_and_half_precision_stay_finite(dtype):
    levels = (torch.ones(2, 4, 3, 3, dtype=dtype),), (maps(2, 4, 3, 3).to(dtype) * 1000,)
    batch = Batch.numbered(torch.arange(2))
    for pair in ((levels[0], levels[0]), levels, (levels[1], levels[1])):
        weights = PairQuality()(*pair, batch)
        assert torch.isfinite(weights).all() and abs(float(weights.sum()) - 2) < 1e-5


def test_given_scores_are_used_and_asked_for():
    batch = Batch.numbered(torch.arange(3))
    with pytest.raises(ValueError, match='the batch has no scores'):
        GivenQuality()(None, None, batch)
    batch.scores = torch.tensor([1.0, float('nan'), 0.0])
    torch.testing.assert_close(
        GivenQuality()(None, None, batch), torch.tensor([1.0, 0, 0]).exp() / (math.e + 2) * 3
    )


def views(count=3):
    return views_of([torch.zeros(count, 3, 8, 8)] * 2)


@pytest.mark.parametrize(
    'objective', ['Cosine', dict(type='InfoNCE', queue=0, batch='keys', temperature=0.5)]
)
def test_a_head_multiplies_the_terms_of_each_image(objective):
    """The terms of one image at a time, weighted by hand."""
    from densecl.models.pretrainers.branch import Branch  # noqa: PLC0415

    head = Head(objective, pair_weight='GivenQuality')
    batch = Batch.numbered(torch.arange(3))
    batch.scores = torch.tensor([1.0, 0.0, -1.0])
    levels = iter([maps(3, 4, 2, 2, seed=s, dtype=torch.float32).requires_grad_() for s in (0, 1)] * 2)
    one = Branch(lambda images: (next(levels),), views())
    head_loss = head.loss(one, one, views(), batch, torch.nn.Identity()).loss
    weight = quality_weights(batch.scores)
    parts = []
    for i in range(3):  # the same with all weight on one image
        chosen = Batch.numbered(torch.arange(3))
        chosen.scores = torch.where(torch.arange(3) == i, 60.0, -60.0)
        levels = iter([maps(3, 4, 2, 2, seed=s, dtype=torch.float32) for s in (0, 1)])
        branch = Branch(lambda images, levels=levels: (next(levels),), views())
        parts.append(head.loss(branch, branch, views(), chosen, torch.nn.Identity()).loss)
    torch.testing.assert_close(head_loss, (weight * torch.stack(parts)).mean(), atol=1e-5, rtol=1e-5)


def test_an_objective_without_weights_is_refused():
    with pytest.raises(
        ValueError, match='pair_weight: objective=BarlowTwins gives all pairs the same weight'
    ):
        Head('BarlowTwins', pair_weight='PairQuality')
    with pytest.raises(ValueError, match='compares the features of two views, which target=Pixels does not'):
        Head('Cosine', target=dict(type='densecl.Pixels', patch=8), pair_weight='PairQuality')
