"""Several selectors on one sample: who draws the views, in which order, and what is refused."""

import numpy as np
import pytest
import torch

from densecl.datasets.transforms import ChosenViews, MultiView
from densecl.registry import TRANSFORMS
from densecl.structures import Proposals, ViewRegions, Views

VIEWS = [{'size': 64, 'count': 2}]
OVERLAP = {'type': 'OverlapBoxes', 'count': 3, 'min_size': 8}
OBJECTS = {'type': 'SelectBoxes'}


@TRANSFORMS.register_module(name='Corner', force=True)
class Corner:
    """One box in the corner of each view but the first."""

    def choose(self, results, views):
        box = ViewRegions(torch.tensor([[0.0, 0, 5, 5]]), torch.tensor([0]))
        return [None if v == 0 else box for v in range(len(views))]


@TRANSFORMS.register_module(name='SecondDraw', force=True)
class SecondDraw:
    """The second draw of the views, with nothing in them."""

    redraws = True

    def choose(self, results, draw):
        draw()
        views = draw()
        return ChosenViews(views, [None] * len(views), [None] * len(views))


def results(seed=0):
    image = np.random.default_rng(1).integers(0, 256, (150, 210, 3), dtype=np.uint8)
    proposals = Proposals([[0, 0, 210, 150], [50, 40, 160, 110]], (150, 210))
    return {'image': image, 'rng': np.random.default_rng(seed), 'proposals': proposals}


def test_regions_of_several_names():
    regions = {'overlap': OVERLAP, 'corner': {'type': 'Corner'}, 'objects': OBJECTS}
    transform = MultiView(VIEWS, regions=regions)
    samples = [transform(results(seed)) for seed in range(4)]
    shapes = {}
    for name, found in Views.collate(samples).regions.items():
        shapes[name] = [None if r is None else tuple(r.boxes.shape) for r in found]
    assert shapes == {
        'overlap': [(4, 3, 4)] * 2,
        'corner': [None, (4, 1, 4)],
        'objects': [(4, 4, 4)] * 2,
    }


def test_the_one_that_redraws_comes_first_whatever_the_order():
    """The boxes of the overlap are those of the views that are kept."""
    one = MultiView(VIEWS, regions={'overlap': OVERLAP, 'again': {'type': 'SecondDraw'}})
    other = MultiView(VIEWS, regions={'again': {'type': 'SecondDraw'}, 'overlap': OVERLAP})
    for seed in range(5):
        a, b = one(results(seed)), other(results(seed))
        rng = results(seed)
        second = [MultiView(VIEWS)(rng) for _ in range(2)][1]
        assert torch.equal(a.boxes, second.boxes) and torch.equal(b.boxes, second.boxes)
        assert a.cutouts == [None, None] and a.regions['again'] == [None, None]
        for x, y in zip(a.regions['overlap'], b.regions['overlap'], strict=True):
            assert torch.equal(x.boxes, y.boxes) and torch.equal(x.ids, y.ids)
        alone = MultiView(VIEWS, regions={'overlap': OVERLAP})
        rng = results(seed)
        MultiView(VIEWS)(rng)
        want = alone(rng).regions['overlap']
        assert torch.equal(a.regions['overlap'][0].boxes, want[0].boxes)


def test_two_that_redraw_are_refused():
    message = 'regions objects, again may each draw the views again, which one selector alone can do'
    with pytest.raises(ValueError, match=message):
        MultiView(VIEWS, regions={'objects': OBJECTS, 'overlap': OVERLAP, 'again': {'type': 'SecondDraw'}})


@pytest.mark.parametrize('regions', [OBJECTS, {'type': {'type': 'CentreCrop', 'size': 8}}])
def test_what_is_no_selector_is_named(regions):
    with pytest.raises(ValueError, match=r"regions must be name -> config of a selector.*, got type="):
        MultiView(VIEWS, regions=regions)


def test_without_selectors_there_are_no_regions():
    sample = MultiView(VIEWS)(results())
    assert sample.regions == {} and sample.cutouts is None and Views.collate([sample]).regions == {}
