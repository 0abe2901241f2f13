"""The area that is blotted out."""

import numpy as np
import torch

from densecl.datasets.transforms.cutout import Cutout


def test_a_cutout_of_a_narrow_box_keeps_its_area():
    boxes = torch.tensor([[3.0, 5, 103, 7], [3, 5, 5, 105], [0, 0, 0, 5]], dtype=torch.float64)
    for seed in range(50):
        cut = Cutout(prob=1.0).draw(boxes, np.random.default_rng(seed))
        share = (cut[:2, 2:] - cut[:2, :2]).prod(1) / 200
        assert ((share > 0.1 - 1e-9) & (share < 0.3 + 1e-9)).all()
        assert (cut[:, :2] >= boxes[:, :2] - 1e-9).all() and (cut[:, 2:] <= boxes[:, 2:] + 1e-9).all()
        assert (cut[2, 2:] - cut[2, :2]).prod() == 0


def test_a_box_without_area_has_a_cutout_without_area():
    boxes = torch.tensor([[4.0, 5, 4, 5], [4, 5, 9, 5], [4, 5, 4, 9]], dtype=torch.float64)
    for seed in range(20):
        cut = Cutout(prob=0.5).draw(boxes, np.random.default_rng(seed))
        assert ((cut[:, 2:] - cut[:, :2]).prod(1) == 0).all()
        assert (cut >= boxes[:, :2].repeat(1, 2)).all() and (cut <= boxes[:, 2:].repeat(1, 2)).all()
