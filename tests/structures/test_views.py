"""Batches of views."""

import torch

from densecl.structures import PretrainDataSample, Views


def sample(label):
    return PretrainDataSample(
        images=[torch.zeros(2, 2, 3, dtype=torch.uint8)],
        boxes=torch.zeros(1, 4),
        flipped=torch.zeros(1, dtype=torch.bool),
        source_size=(2, 2),
        index=0,
        path='',
        photometric=[None],
        label=label,
    )


def test_an_image_without_a_label_among_labelled_ones_has_minus_one():
    assert Views.collate([sample(3), sample(None), sample(-1)]).labels.tolist() == [3, -1, -1]
    assert Views.collate([sample(None), sample(None)]).labels is None
