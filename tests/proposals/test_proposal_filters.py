"""Filters against plain loops over boxes."""

import math
import pickle

import numpy as np
import pytest

from densecl.proposals import SOCO_FALLBACKS, SOCO_RULES, DropDuplicates, MinScore, TopScores, filter_boxes
from densecl.registry import PROPOSALS
from densecl.structures import Proposals

SIZE = (300, 400)


def boxes_of(seed, count=400, whole=True):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 350, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 300, (count, 2))], axis=1)
    return (boxes.round() if whole else boxes).astype(np.float32)


def soco(box, size, min_side, aspect, relative):
    x1, y1, x2, y2 = (float(value) for value in box)
    w, h = x2 - x1, y2 - y1
    return (
        w >= min_side
        and h >= min_side
        and aspect[0] <= w / h <= aspect[1]
        and relative[0] <= math.sqrt(w * h) / math.sqrt(size[0] * size[1]) <= relative[1]
    )


@pytest.mark.parametrize('whole', [True, False])
@pytest.mark.parametrize('limits', [(32, (1 / 3, 3), (0.3, 0.8)), (1, (0.5, 2), (0.0, 0.8))])
def test_filter_boxes_against_a_loop(whole, limits):
    boxes = boxes_of(0, whole=whole)
    expected = [box for box in boxes if soco(box, SIZE, *limits)]
    kept = filter_boxes(boxes, SIZE, *limits)
    assert kept.dtype == np.float32 and 20 < len(kept) < 380
    np.testing.assert_array_equal(kept, expected)


def test_bounds_are_inclusive():
    boxes = [[0, 0, 32, 96], [0, 0, 96, 32], [0, 0, 80, 80], [0, 0, 30, 30]]
    assert filter_boxes(boxes, (100, 100), min_side=30).tolist() == boxes
    assert len(filter_boxes(boxes, (100, 100), min_side=30.5)) == 3
    assert len(filter_boxes([[0, 0, 32, 96.1]], (100, 100))) == 0  # aspect below 1/3
    assert len(filter_boxes([[0, 0, 80.1, 80]], (100, 100))) == 0  # relative size above 0.8


def test_nothing_in_nothing_out():
    assert filter_boxes(np.zeros((0, 4)), SIZE).shape == (0, 4)
    flat = [[5, 5, 5, 90], [5, 5, 90, 5], [7, 7, 7, 7]]
    assert len(filter_boxes(flat, SIZE, min_side=0, relative_size=(0, 1))) == 0


class Given:
    """A provider of boxes that are known."""

    def __init__(self, boxes, **more):
        self.proposals = Proposals(boxes, SIZE, **more)

    def __call__(self, image, image_id):
        return self.proposals


def filtered(boxes):
    return PROPOSALS.build(dict(type='Filtered', provider=Given(boxes)))(None, 'x').boxes.tolist()


def test_fallbacks_in_order():
    good, ratio, size, tiny = [0, 0, 150, 150], [0, 0, 60, 60], [0, 0, 400, 40], [0, 0, 9, 9]
    assert filtered([tiny, size, ratio, good]) == [good]
    assert filtered([tiny, size, ratio]) == [ratio]
    assert filtered([tiny, size]) == [size]
    assert filtered([tiny]) == [] and filtered(np.zeros((0, 4))) == []


def test_rules_compose_and_keep_what_belongs_to_a_box():
    boxes = boxes_of(1, 30)
    masks = [dict(size=list(SIZE), counts=bytes([65 + i])) for i in range(30)]
    provider = Given(boxes, scores=np.linspace(1, 0, 30), ids=np.arange(30) * 7, masks=masks)
    rules = [dict(type='MinSide', pixels=60), dict(type='MinScore', score=0.2)]
    rules.append(dict(type='TopScores', count=5))
    part = PROPOSALS.build(dict(type='Filtered', provider=provider, rules=rules, fallbacks=[]))
    kept = pickle.loads(pickle.dumps(part))(None, 'x')
    sides = (boxes[:, 2:] - boxes[:, :2]).min(1)
    expected = [i for i in range(30) if sides[i] >= 60 and 1 - i / 29 >= 0.2][:5]
    assert kept.ids.tolist() == [7 * i for i in expected] and len(expected) == 5
    np.testing.assert_array_equal(kept.boxes, boxes[expected])
    assert [m['counts'][0] - 65 for m in kept.masks] == expected


def iou(a, b):
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h
    return w * h / union if union else 0.0


@pytest.mark.parametrize('scored', [False, True])
def test_duplicates_against_a_loop(scored):
    boxes = boxes_of(2, 150, whole=False)
    scores = np.random.default_rng(3).uniform(size=150).astype(np.float32) if scored else None
    order = sorted(range(150), key=lambda i: (-scores[i], i)) if scored else range(150)
    kept = []
    for i in order:
        if all(iou(boxes[i].astype(float), boxes[j].astype(float)) <= 0.5 for j in kept):
            kept.append(i)
    keep = DropDuplicates(iou=0.5)(Proposals(boxes, SIZE, scores=scores))
    assert np.flatnonzero(keep).tolist() == sorted(kept) and 5 < len(kept) < 145


def test_top_scores_are_stable():
    proposals = Proposals(boxes_of(4, 6), SIZE, scores=np.float32([0.5, 0.9, 0.5, 0.1, 0.9, 0.2]))
    assert TopScores(4)(proposals).tolist() == [1, 4, 0, 2]
    assert TopScores(9)(Proposals(boxes_of(4, 3), SIZE)).tolist() == [0, 1, 2]


def test_errors():
    assert MinScore(0.5)(Proposals([], SIZE)).shape == (0,)
    with pytest.raises(ValueError, match='no scores'):
        MinScore(0.5)(Proposals(boxes_of(0, 3), SIZE))
    for rule in (dict(type='DropDuplicates', iou=2), dict(type='TopScores', count=0),
                 dict(type='AspectRatio', low=3, high=1)):  # fmt: skip
        with pytest.raises(ValueError, match=rule['type']):
            PROPOSALS.build(rule)


def test_names_of_soco():
    types = [[rule['type'] for rule in rules] for rules in (SOCO_RULES, *SOCO_FALLBACKS)]
    assert types == [['MinSide', 'AspectRatio', 'RelativeSize'], ['MinSide', 'AspectRatio'], ['MinSide']]
