"""Which views one branch encodes together."""

import torch

from densecl.models.pretrainers.branch import Branch
from tests.models.heads.made import make_views


def test_views_whose_predictors_are_asked_unequally_often_share_a_pass():
    views = make_views(batch=2, count=3)
    views.masks = [torch.eye(4, dtype=torch.bool).expand(2, 4, 4)] * 3
    views.hidden_counts = [(4, 4)] * 3
    views.asked = [torch.tensor([[0, 5, 10]] * 2), torch.tensor([[15]] * 2), None]
    passes = []

    def encode(images, mask):
        passes.append((len(images), len(mask.hidden), mask.counts))
        return (images,)

    branch = Branch(encode, views, together={0, 1, 2}, masked=True)
    for view in range(3):
        assert torch.equal(branch[view][0], views.images[view])
    assert passes == [(6, 6, (4, 4))]
