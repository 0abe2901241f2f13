"""From a collated batch to what a model sees."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from densecl.datasets.transforms import MultiView
from densecl.models.data_preprocessors import PretrainDataPreprocessor
from densecl.registry import MODELS
from densecl.structures import Views

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
RECIPE = {
    'brightness': 0.4,
    'contrast': 0.4,
    'saturation': 0.2,
    'hue': 0.1,
    'jitter_prob': 0.8,
    'gray_prob': 0.2,
    'blur_prob': 0.5,
}


def batch(photometric: dict | None = None, on: str = 'device', count: int = 8) -> Views:
    views = [
        {'count': 2, 'size': 48, 'photometric': photometric},
        {'size': (20, 32), 'photometric': None},
    ]
    transform = MultiView(views=views, photometric_on=on)
    y, x = np.mgrid[:120, :160]
    image = np.stack([x, y, (x + y) / 2], -1) + 30 * np.sin(x / 9 + y / 17)[..., None]
    image = image.clip(0, 255).astype(np.uint8)
    return Views.collate(
        [transform({'image': image, 'rng': np.random.default_rng((0, i)), 'index': i}) for i in range(count)]
    )


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('channels_last', [True, False])
def test_normalises(training, channels_last):
    views = batch()
    preprocessor = MODELS.build(
        {'type': 'PretrainDataPreprocessor', 'mean': MEAN, 'std': STD} | {'channels_last': channels_last}
    )
    data = preprocessor({'inputs': views, 'data_samples': None}, training)
    assert data['data_samples'] is None
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for before, after in zip(views.images, data['inputs'].images, strict=True):
        expected = (before.double() - torch.tensor(MEAN)) / torch.tensor(STD)
        assert after.dtype == torch.float32 and after.is_contiguous(memory_format=layout)
        torch.testing.assert_close(after.double(), expected.permute(0, 3, 1, 2), rtol=0, atol=1e-5)


def test_the_given_batch_is_not_changed():
    views = batch(RECIPE)
    images = [image.clone() for image in views.images]
    done = PretrainDataPreprocessor()({'inputs': views})['inputs']
    assert all(map(torch.equal, images, views.images))
    assert views.photometric[0] is not None and done.photometric == [None] * 3
    assert done.boxes[0] is not None and len(done.indices) == 8


@pytest.mark.parametrize('training', [True, False])
def test_photometric_on_the_device_and_in_the_worker_give_the_same_picture(training):
    preprocessor = PretrainDataPreprocessor(mean=(0, 0, 0), std=(1, 1, 1))
    device, worker = (
        preprocessor({'inputs': batch(RECIPE, on)}, training)['inputs'] for on in ('device', 'worker')
    )
    for a, b in zip(device.images, worker.images, strict=True):
        assert (a - b).abs().mean() < 0.6 and (a - b).abs().max() < 6
    plain = batch(RECIPE).images  # before the photometric part
    assert (device.images[0] - plain[0].permute(0, 3, 1, 2)).abs().mean() > 5
    assert torch.equal(device.images[2], plain[2].permute(0, 3, 1, 2).float())


def test_layout_is_channels_last_after_the_photometric_part_too():
    done = PretrainDataPreprocessor()({'inputs': batch(RECIPE)})['inputs']
    assert all(im.is_contiguous(memory_format=torch.channels_last) for im in done.images)


def test_inside_autocast_nothing_changes():
    preprocessor, views = PretrainDataPreprocessor(), batch(RECIPE)
    expected = preprocessor({'inputs': views})['inputs'].images
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = preprocessor({'inputs': views})['inputs'].images
    assert all(map(torch.equal, inside, expected))


def test_adds_nothing_to_checkpoints():
    assert not PretrainDataPreprocessor().state_dict()


def test_bad_input_is_named():
    preprocessor = PretrainDataPreprocessor()
    with pytest.raises(TypeError, match='inputs of type Tensor.*collate_views'):
        preprocessor({'inputs': torch.zeros(2, 3, 8, 8)})
    with pytest.raises(TypeError, match='needs dict'):
        preprocessor([1, 2])
    views = batch()
    prepared = replace(views, images=[image.float() for image in views.images])
    with pytest.raises(ValueError, match=r'inputs.images\[0\] must be uint8'):
        preprocessor({'inputs': prepared})
    with pytest.raises(ValueError, match='std above 0'):
        PretrainDataPreprocessor(std=(1, 0, 1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_arrives_on_the_device():
    views = batch(RECIPE, count=16)
    expected = PretrainDataPreprocessor()({'inputs': views})['inputs']
    done = PretrainDataPreprocessor().cuda()({'inputs': views.pin_memory()})['inputs']
    for a, b in zip(done.images, expected.images, strict=True):
        assert a.is_cuda and a.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(a.cpu(), b, rtol=0, atol=5e-3)
    assert done.boxes[0].is_cuda and done.flipped[0].is_cuda


def test_cutouts_are_zero_after_the_normalisation():
    generator = torch.Generator().manual_seed(0)
    views = batch(RECIPE, count=6)
    plain = PretrainDataPreprocessor()({'inputs': views})['inputs'].images
    cutouts = [None] * 3
    for v, (height, width) in ((0, (48, 48)), (2, (20, 32))):
        near = torch.rand(6, 4, 2, generator=generator) * torch.tensor([width, height]) - 4
        size = torch.rand(6, 4, 2, generator=generator) * 15
        size[:, 1], size[:, 2, 0], near[:, 3] = 0, 0, near[:, 3].round()
        size[:, 3] = size[:, 3].round()
        cutouts[v] = torch.cat([near, near + size], -1)
    done = PretrainDataPreprocessor()({'inputs': replace(views, cutouts=cutouts)})['inputs']
    assert done.cutouts is None
    for v, boxes in enumerate(cutouts):
        expected = plain[v].clone()
        if boxes is not None:
            for b, k, y, x in np.ndindex(6, 4, *expected.shape[2:]):
                x1, y1, x2, y2 = boxes[b, k].tolist()
                if x1 <= x + 0.5 < x2 and y1 <= y + 0.5 < y2:
                    expected[b, :, y, x] = 0
            assert 0.02 < (expected == 0).float().mean() < 0.6
        assert torch.equal(done.images[v], expected)
        assert done.images[v].is_contiguous(memory_format=torch.channels_last)


def test_cutouts_without_area_change_nothing():
    views = batch()
    plain = PretrainDataPreprocessor()({'inputs': views})['inputs'].images
    line = torch.tensor([[0.0, 0, 0, 48], [0, 9, 48, 9], [5, 5, 5, 5], [60, 60, 90, 90]]).expand(8, -1, -1)
    done = PretrainDataPreprocessor()({'inputs': replace(views, cutouts=[line, line, line])})['inputs']
    assert all(map(torch.equal, plain, done.images))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
def test_cutouts_on_the_device_never_wait_for_it():
    near = torch.rand(16, 4, 2) * 30
    cutouts = [torch.cat([near, near + 9], -1), None, None]
    views = replace(batch(count=16), cutouts=cutouts)
    expected = PretrainDataPreprocessor()({'inputs': views})['inputs'].images[0]
    preprocessor, views = PretrainDataPreprocessor().cuda(), views.pin_memory()
    preprocessor({'inputs': views})
    torch.cuda.set_sync_debug_mode('error')
    try:
        done = preprocessor({'inputs': views})['inputs']
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert torch.equal(done.images[0].cpu() == 0, expected == 0)


def test_it_can_be_stored_as_a_whole():
    stored = io.BytesIO()
    torch.save(PretrainDataPreprocessor(channels_last=True), stored)
    stored.seek(0)
    assert torch.load(stored, weights_only=False).layout == torch.channels_last
