"""Nearest cells by feature and by place, against loops."""

import pytest
import torch

from densecl.models.matching import NearestFeature, NearestLocation, ViewMaps, nearest_pairs
from densecl.structures import cell_centers


def maps(grid, seed, flipped=None, boxes=None, batch=3):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(batch, 2, generator=generator) * 50
    size = 20 + torch.rand(batch, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + size], 1) if boxes is None else boxes
    flipped = torch.rand(batch, generator=generator) < 0.5 if flipped is None else flipped
    features = torch.randn(batch, 5, *grid, generator=generator)
    projections = torch.randn(batch, 4, *grid, generator=generator)
    return ViewMaps(features, projections, boxes, flipped)


def naive(distance, top):
    """Cells in the order of their smallest distance, the first ``top`` of them in rising order."""
    found = []
    for rows in distance.tolist():
        ranked = sorted((min(row), n, row.index(min(row))) for n, row in enumerate(rows))
        found.append(sorted((n, m) for _, n, m in ranked[:top]))
    return found


@pytest.mark.parametrize('top', [None, 1, 4, 99])
def test_nearest_pairs(top):
    distance = torch.rand(4, 9, 6)
    chosen, matched = nearest_pairs(distance, top)
    got = [list(zip(a.tolist(), b.tolist(), strict=True)) for a, b in zip(chosen, matched, strict=True)]
    assert got == naive(distance, min(top or 9, 9))


@pytest.mark.parametrize('of', ['features', 'projections'])
def test_by_feature(of):
    query, key = maps((3, 4), 0), maps((2, 5), 1)
    a, b = (getattr(view, of).double().flatten(2).transpose(1, 2) for view in (query, key))
    distance = (a[:, :, None] - b[:, None]).norm(dim=-1)
    chosen, matched = NearestFeature(top=5, of=of).pairs(query, key)
    got = [list(zip(a.tolist(), b.tolist(), strict=True)) for a, b in zip(chosen, matched, strict=True)]
    assert got == naive(distance, 5)


@pytest.mark.parametrize('seed', range(5))
def test_by_location(seed):
    query, key = maps((4, 4), seed), maps((3, 5), seed + 100)
    a = cell_centers(query.boxes.double(), query.flipped, (4, 4))
    b = cell_centers(key.boxes.double(), key.flipped, (3, 5))
    distance = (a[:, :, None] - b[:, None]).norm(dim=-1)
    chosen, matched = NearestLocation(top=7).pairs(query, key)
    got = [list(zip(a.tolist(), b.tolist(), strict=True)) for a, b in zip(chosen, matched, strict=True)]
    assert got == naive(distance, 7)


def test_a_mirrored_view_matches_its_mirror_image():
    boxes = torch.tensor([[10.0, 20.0, 90.0, 70.0]])
    query = maps((3, 3), 0, torch.tensor([False]), boxes, batch=1)
    key = maps((3, 3), 1, torch.tensor([True]), boxes, batch=1)
    mirror = torch.arange(9).view(3, 3).flip(1).flatten()
    assert NearestLocation(top=None).pairs(query, key)[1][0].tolist() == mirror.tolist()
    wrong = NearestLocation(top=None, ignore_flips=True).pairs(query, key)[1][0]
    assert wrong.tolist() == list(range(9))  # the official default


def test_the_mask_holds_the_pairs():
    query, key = maps((3, 4), 0), maps((2, 5), 1)
    rule = NearestLocation(top=5)
    mask = rule(query, key)
    assert mask.shape == (3, 12, 10)
    chosen, matched = rule.pairs(query, key)
    for b in range(3):
        assert mask[b].nonzero().tolist() == torch.stack([chosen[b], matched[b]], 1).tolist()


def test_no_gradient():
    query, key = maps((3, 4), 0), maps((2, 5), 1)
    query.projections.requires_grad_()
    assert not NearestFeature().pairs(query, key)[0].requires_grad


def test_bad_arguments():
    with pytest.raises(ValueError, match='top must be at least 1'):
        NearestLocation(top=0)
    with pytest.raises(ValueError, match="must be 'features' or"):
        NearestFeature(of='pixels')
