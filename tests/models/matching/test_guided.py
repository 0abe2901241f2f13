"""Guided stop-gradient against a loop over images."""

import pytest
import torch

from densecl.models.heads import Head
from densecl.models.matching import GuidedStopGradient
from densecl.structures import Units
from tests.models.matching.sets import images


def views(seed, count=6):
    first, second = torch.randn(2, count, 1, 3, generator=torch.Generator().manual_seed(seed)).unbind()
    return Units(first), Units(second)


def directions(first, second, count=6):
    first.view, second.view = 0, 1
    rule = GuidedStopGradient()
    return [rule(*pair, images(count)).valid[:, 0] for pair in ((first, second), (second, first))]


def test_the_view_nearest_to_the_next_image_moves():
    first, second = views(0)
    forth, back = directions(first, second)
    for i in range(6):
        j = (i + 1) % 6
        distances = {
            (a, b): float(((x[i] / x[i].norm()) - (y[j] / y[j].norm())).norm())
            for a, x in enumerate((first.vectors[:, 0], second.vectors[:, 0]))
            for b, y in enumerate((first.vectors[:, 0], second.vectors[:, 0]))
        }
        nearest = min(distances, key=distances.get)[0]
        assert (bool(forth[i]), bool(back[i])) == (nearest == 0, nearest == 1)
    assert forth.any() and back.any()


def test_equal_views_count_once():
    first, _ = views(1)
    forth, back = directions(first, Units(first.vectors.clone()))
    assert forth.all() and not back.any()


def test_a_batch_of_one_image_is_refused():
    first, second = views(2, count=1)
    with pytest.raises(ValueError, match='which has one; raise train_dataloader.batch_size'):
        directions(first, second, count=1)


def test_it_is_built_from_a_head():
    assert isinstance(Head('Cosine', matching='GuidedStopGradient').rules[None][0], GuidedStopGradient)
