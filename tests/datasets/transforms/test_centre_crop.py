"""The evaluation's view is the picture that resizing and cutting give."""

import numpy as np
import pytest
import torch
from PIL import Image

from densecl.datasets.transforms import CentreCrop, MultiView


def photo(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.BICUBIC))


@pytest.mark.parametrize('shape', [(256, 320), (512, 640)])
def test_like_resize_then_cut(shape):
    image = photo(*shape)
    view = CentreCrop(224)({'image': image}).images[0].numpy().astype(int)
    factor = 256 / min(shape)
    size = round(shape[1] * factor), round(shape[0] * factor)
    small = Image.fromarray(image).resize(size, Image.BILINEAR)
    x, y = (size[0] - 224) // 2, (size[1] - 224) // 2
    expected = np.asarray(small.crop((x, y, x + 224, y + 224))).astype(int)
    assert np.abs(view - expected)[1:-1, 1:-1].max() <= 2


def test_box_flip_and_label():
    sample = CentreCrop(32, share=0.5)({'image': photo(40, 60), 'label': 3, 'source_size': (80, 120)})
    assert sample.boxes.tolist() == [[40, 20, 80, 60]] and sample.flipped.tolist() == [False]
    assert sample.label == 3 and sample.images[0].shape == (32, 32, 3)


def test_in_multi_view():
    views = [{'size': 16}, {'type': 'CentreCrop', 'size': 24}]
    results = {'image': photo(40, 60), 'rng': np.random.default_rng(0)}
    sample = MultiView(views)(results)
    assert torch.equal(sample.images[1], CentreCrop(24)(results).images[0])


def test_bad_arguments():
    with pytest.raises(ValueError, match='got 224 and 1.5'):
        CentreCrop(share=1.5)
