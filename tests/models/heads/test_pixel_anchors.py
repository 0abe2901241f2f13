"""Which pixels are drawn, and how many hard and easy ones."""

import pytest
import torch

from densecl.models.heads.pixel_contrast import quotas, sample_anchors


def naive_quota(easy, hard, views):
    """The official code's cases; where a group has fewer pixels than wanted, all of them."""
    views = min(views, easy + hard)
    if hard >= views / 2 and easy >= views / 2:
        return [views - views // 2, views // 2]
    if hard >= views / 2:
        return [easy, views - easy]
    return [views - hard, hard]


@pytest.mark.parametrize('views', [1, 2, 5, 6, 100])
def test_quotas_are_those_of_the_official_code(views):
    counts = torch.tensor([[e, h] for e in range(9) for h in range(9)])
    assert quotas(counts, views).tolist() == [naive_quota(e, h, views) for e, h in counts.tolist()]


def drawn(labels, wrong, **options):
    """{(image, class): (easy, hard)} of the drawn pixels."""
    settings = dict(num_classes=4, max_views=6, max_anchors=1000, min_pixels=7) | options
    places = sample_anchors(labels, wrong, **settings)
    assert len(places.unique()) == len(places)
    found = {}
    for place in places.tolist():
        image, pixel = divmod(place, labels.shape[1])
        key = (image, int(labels[image, pixel]))
        easy, hard = found.get(key, (0, 0))
        found[key] = (easy, hard + 1) if wrong[image, pixel] else (easy + 1, hard)
    return found


def batch(*images):
    """Labels and wrongness from {class: (easy, hard)} of each image, filled up with ignored pixels."""
    labels, wrong = torch.full((len(images), 80), -1), torch.ones(len(images), 80, dtype=torch.bool)
    for b, classes in enumerate(images):
        start = 0
        for label, (easy, hard) in classes.items():
            labels[b, start : start + easy + hard] = label
            wrong[b, start : start + easy] = False
            start += easy + hard
        order = torch.randperm(80)
        labels[b], wrong[b] = labels[b, order], wrong[b, order]
    return labels, wrong


def test_half_hard_half_easy_and_the_rest_from_where_there_is_enough():
    images = {0: (20, 20), 1: (1, 12), 2: (10, 2)}, {0: (7, 0), 3: (0, 8)}
    assert drawn(*batch(*images)) == {
        (0, 0): (3, 3),
        (0, 1): (1, 5),
        (0, 2): (4, 2),
        (1, 0): (6, 0),
        (1, 3): (0, 6),
    }


def test_a_class_with_few_pixels_is_left_out_or_taken_whole():
    data = batch({0: (20, 20), 1: (3, 3)}, {1: (2, 1), 2: (1, 0)})
    assert drawn(*data) == {(0, 0): (3, 3)}
    assert drawn(*data, min_pixels=2) == {(0, 0): (3, 3), (0, 1): (3, 3), (1, 1): (2, 1)}
    assert drawn(*data, min_pixels=1)[1, 2] == (1, 0)


def test_the_budget_is_shared_by_images_and_classes():
    data = batch({0: (10, 10), 1: (10, 10)}, {2: (10, 10), 3: (10, 10)})
    assert set(drawn(*data, max_anchors=19).values()) == {(2, 2)}  # 19 // 4
    assert set(drawn(*data, max_anchors=3).values()) == {(1, 0)}  # never none


def test_ignored_pixels_are_never_drawn():
    data = batch({0: (8, 2)}, {})
    assert drawn(*data) == {(0, 0): (4, 2)}
    nothing = torch.full((2, 80), -1)
    assert drawn(nothing, data[1]) == {}


def test_every_pixel_of_a_group_is_equally_likely():
    labels, wrong = torch.zeros(1, 12, dtype=torch.long), torch.arange(12)[None] >= 8
    hits = torch.zeros(12)
    for _ in range(2000):
        hits[sample_anchors(labels, wrong, 1, 4, 100, 1)] += 1
    torch.testing.assert_close(hits[:8] / 2000, torch.full((8,), 2 / 8), atol=0.05, rtol=0)
    torch.testing.assert_close(hits[8:] / 2000, torch.full((4,), 2 / 4), atol=0.05, rtol=0)
