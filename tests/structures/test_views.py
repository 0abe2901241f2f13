"""Batches of views."""

import pytest
import torch

from densecl.structures import PretrainDataSample, ViewRegions, Views


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


def with_objects(seed, masks=False):
    torch.manual_seed(seed)
    placed = [
        ViewRegions(torch.rand(3, 4), torch.arange(3) + seed, torch.rand(3, 7, 7) if masks else None)
        for _ in range(2)
    ]
    plain = sample(None)
    plain.images, plain.photometric = plain.images * 2, [None, None]
    plain.boxes, plain.flipped = torch.zeros(2, 4), torch.zeros(2, dtype=torch.bool)
    plain.regions, plain.cutouts = {'objects': placed, 'half': [None, placed[1]]}, [None, torch.rand(3, 4)]
    return plain


@pytest.mark.parametrize('masks', [True, False])
def test_objects_and_cutouts_of_a_batch(masks):
    samples = [with_objects(seed, masks) for seed in range(4)]
    views = Views.collate(samples)
    for v, placed in enumerate(views.regions['objects']):
        assert torch.equal(placed.boxes, torch.stack([s.regions['objects'][v].boxes for s in samples]))
        assert placed.ids.tolist() == [[i, i + 1, i + 2] for i in range(4)]
        assert (placed.masks.shape == (4, 3, 7, 7)) if masks else (placed.masks is None)
    assert views.cutouts[0] is None and views.regions['half'][0] is None
    assert torch.equal(views.regions['half'][1].ids, views.regions['objects'][1].ids)
    assert torch.equal(views.cutouts[1], torch.stack([s.cutouts[1] for s in samples]))
    plain = Views.collate([sample(None)])
    assert plain.regions == {} and plain.cutouts is None


def test_objects_go_where_the_batch_goes():
    views = Views.collate([with_objects(seed, masks=True) for seed in range(2)])
    moved = views.to('meta')
    assert isinstance(moved.regions['objects'][1], ViewRegions)
    tensors = [*vars(moved.regions['objects'][1]).values(), moved.cutouts[1], *moved.images]
    assert {x.device.type for x in tensors} == {'meta'}
    assert views.regions['objects'][1].boxes.device.type == 'cpu' and moved.cutouts[0] is None


@pytest.mark.gpu
def test_objects_are_pinned_and_moved_to_the_gpu():
    views = Views.collate([with_objects(seed, masks=True) for seed in range(2)]).pin_memory()
    assert all(x.is_pinned() for x in vars(views.regions['objects'][0]).values())
    assert views.to('cuda').regions['objects'][0].ids.is_cuda and views.cutouts[1].is_pinned()
