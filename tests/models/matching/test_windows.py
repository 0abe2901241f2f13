"""What places of a pooled map cover, and which boxes overlap."""

import torch

from densecl.models.matching import pooled_boxes, share_area


def test_what_pooled_places_cover():
    found = pooled_boxes((14, 14), (3, 3), (224, 224))
    assert found.shape == (144, 4)
    assert found[0].tolist() == [0, 0, 48, 48] and found[-1].tolist() == [176, 176, 224, 224]
    assert found[1].tolist() == [16, 0, 64, 48]
    assert pooled_boxes((2, 4), (2, 3), (20, 80)).tolist() == [[0, 0, 60, 20], [20, 0, 80, 20]]


def test_to_touch_is_not_to_overlap():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [5, 5, 6, 6]]])
    others = torch.tensor([[10.0, 0, 20, 10], [9, 9, 20, 20], [0, 0, 100, 100], [0, 10, 5, 20]])
    assert share_area(boxes, others).tolist() == [[[False, True, True, False], [False, False, True, False]]]
