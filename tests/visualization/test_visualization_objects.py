"""An object has the same colour in every view."""

import numpy as np
import torch

from densecl.structures import ViewRegions
from densecl.visualization import colors, draw_objects


def test_the_same_id_has_the_same_colour_everywhere():
    views = [np.zeros((50, 100, 3), np.uint8)] * 2
    first = ViewRegions(torch.tensor([[10.0, 10, 60, 40], [70, 5, 95, 45]]), torch.tensor([7, 3]))
    second = ViewRegions(torch.tensor([[30.0, 5, 90, 45], [5, 5, 20, 45]]), torch.tensor([3, -1]))
    sheet = draw_objects(views, [first, second], height=100)
    assert sheet.shape == (100, 412, 3)
    seven, three = colors(2)
    assert (sheet[78, 80] == seven).all() and (sheet[60, 140] == three).all()
    assert (sheet[60, 212 + 60] == three).all() and (sheet[88, 212 + 120] == three).all()
    assert (sheet[60, 212 + 10] == 0).all()  # no object
    assert (views[0] == 0).all()
