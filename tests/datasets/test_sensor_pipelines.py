"""Stock transforms of mmdet and mmseg behind ``LoadSensorImage``."""

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

TRANSFORMS = {
    'mmdet': [
        dict(type='Resize', scale=(40, 30), keep_ratio=True),
        dict(type='RandomFlip', prob=1.0),
        dict(type='RandomCrop', crop_size=(16, 16)),
        dict(type='Pad', size_divisor=32),
        dict(type='PackDetInputs', meta_keys=('ori_shape', 'img_shape')),
    ],
    'mmseg': [
        dict(type='RandomResize', scale=(40, 30), ratio_range=(1.0, 1.0), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(16, 16)),
        dict(type='RandomFlip', prob=1.0),
        dict(type='Pad', size_divisor=32),
        dict(type='PackSegInputs', meta_keys=('ori_shape', 'img_shape')),
    ],
}


@pytest.mark.parametrize('scope', TRANSFORMS)
@pytest.mark.parametrize('channels', [1, 2, 4, 7])
def test_bands_pass_stock_transforms(tmp_path, scope, channels):
    init_default_scope(scope)
    row = np.arange(1, 81, dtype=np.uint16) * 50  # grows to the right, by channel
    image = np.tile(row[None, :, None], (60, 1, channels)) + np.arange(channels, dtype=np.uint16) * 7
    np.save(tmp_path / 'a.npy', image)
    load = dict(type='densecl.LoadSensorImage', channels=channels, dtype='uint16')
    results = dict(img_path=str(tmp_path / 'a.npy'), seg_fields=[])
    # mmcv's Pad takes up to four channels; the data preprocessor pads any number
    stock = [t for t in TRANSFORMS[scope] if channels <= 4 or t['type'] != 'Pad']
    packed = Compose([load, *stock])(results)
    inputs = packed['inputs']
    side = 32 if channels <= 4 else 16
    assert inputs.dtype == torch.uint16 and inputs.shape == (channels, side, side)
    assert packed['data_samples'].ori_shape == (60, 80)
    pixels = inputs.float()[:, :16, :16]
    assert not inputs.float()[:, 16:].any()
    # half the size and mirrored: values fall by 100 a pixel, and channels differ by 7
    assert (pixels.diff(dim=2) == -100).all() and (pixels.diff(dim=0) == 7).all()
