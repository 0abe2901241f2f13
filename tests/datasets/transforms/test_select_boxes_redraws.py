"""When the views are drawn again for want of common objects."""

import numpy as np
import pytest

from densecl.datasets.transforms import WHOLE_IMAGE, SelectBoxes
from densecl.datasets.transforms.drawn import Crop, DrawnView
from densecl.structures import Proposals


def views_at(*crops):
    return [DrawnView(Crop(crop, (20, 20), False)) for crop in crops]


@pytest.mark.parametrize(
    ('seen', 'draws'),
    [
        ([4, 0], 1),  # 4 >= 2
        ([2, 0], 1),
        ([1, 1, 0], 2),  # 1 < 2, then 1 >= 1
        ([0, 1, 0], 2),
        ([0, 0, 0, 3], 4),
        ([0, 0, 0, 0, 0, 9], 5),  # the last of five is kept, whatever it is
    ],
)
def test_redraws_until_enough_are_common(seen, draws):
    """Draw i shows the first ``seen[i]`` of ten boxes in both views."""
    boxes = np.array([[10 * i, 0, 10 * i + 5, 5] for i in range(10)], np.float32)
    drawn = []

    def draw():
        drawn.append(views_at((0, 0, 100, 10), (0, 0, max(10 * seen[len(drawn)], 1e-3), 10)))
        if not seen[len(drawn) - 1]:  # beside all boxes
            drawn[-1] = views_at((0, 0, 100, 10), (97, 0, 99, 10))
        return drawn[-1]

    results = {
        'image': np.zeros((10, 100, 3), np.uint8),
        'rng': np.random.default_rng(0),
        'proposals': Proposals(boxes, (10, 100)),
    }
    found = SelectBoxes(count=4, cutout=None).choose(results, draw)
    assert len(drawn) == draws and found.views is drawn[-1] and found.cutouts is None
    common = seen[draws - 1]
    ids = set(found.regions[0].ids.tolist())
    assert ids == {WHOLE_IMAGE} if common == 0 else ids <= set(range(common))
    if common:
        assert len(ids) == min(common, 4)


def test_fewer_proposals_than_wanted_need_no_redraw():
    calls = []
    results = {
        'image': np.zeros((10, 100, 3), np.uint8),
        'rng': np.random.default_rng(0),
        'proposals': Proposals([[0, 0, 5, 5]], (10, 100)),
    }
    SelectBoxes().choose(results, lambda: calls.append(0) or views_at((0, 0, 100, 10)))
    assert len(calls) == 1
