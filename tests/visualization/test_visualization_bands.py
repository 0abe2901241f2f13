"""Pictures of images with any number of channels and any depth."""

import numpy as np
import tifffile
import torch
from mmengine.structures import InstanceData
from PIL import Image

from densecl.registry import HOOKS
from densecl.visualization import as_picture, displayable

LOW, HIGH = (100.0, 0.0, 50.0, 0.0), (4100.0, 2000.0, 150.0, 1.0)


def test_first_three_channels_between_low_and_high():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 4096, (6, 7, 4)).astype(np.uint16)
    picture = as_picture(image, LOW, HIGH)
    for c in range(3):
        share = ((image[..., c].astype(np.float64) - LOW[c]) / (HIGH[c] - LOW[c])).clip(0, 1)
        assert np.abs(picture[..., c] - 255 * share).max() <= 0.51
    assert picture.dtype == np.uint8 and picture.shape == (6, 7, 3)


def test_own_percentiles_one_channel_and_two():
    image = np.linspace(-5, 20, 2001, dtype=np.float32).reshape(1, -1, 1)
    grey = as_picture(image)
    assert (grey[..., 0] == grey[..., 2]).all() and grey[0, 2, 0] == 0 and grey[0, -2, 0] == 255
    np.testing.assert_allclose(grey[0, 1000, 0], 127.5, atol=1)
    two = as_picture(np.repeat(image, 2, 2))
    assert (two[..., 2] == 0).all() and (two[..., 0] == grey[..., 0]).all()
    flat = as_picture(np.full((3, 3, 1), 7, np.uint16))
    assert (flat == 0).all()


def test_8_bit_rgb_stays():
    image = np.random.default_rng(0).integers(0, 99, (4, 5, 3)).astype(np.uint8)
    assert as_picture(image) is image


def test_views_come_back_from_the_network():
    image = np.random.default_rng(0).integers(100, 4000, (5, 6, 4)).astype(np.uint16)
    mean, std = (1000.0, 900.0, 800.0, 7.0), (300.0, 200.0, 400.0, 9.0)
    planes = torch.from_numpy((image - np.array(mean)) / np.array(std)).permute(2, 0, 1)[None].float()
    (picture,) = displayable(planes, mean, std, LOW, HIGH)
    assert np.abs(picture.astype(int) - as_picture(image, LOW, HIGH)).max() <= 1


def test_predictions_are_drawn_on_bands(tmp_path):
    from mmdet.structures import DetDataSample

    image = np.random.default_rng(0).integers(0, 4096, (40, 60, 4)).astype(np.uint16)
    tifffile.imwrite(tmp_path / 'a.tif', image, photometric='minisblack', planarconfig='contig')
    sample = DetDataSample(metainfo=dict(img_path=str(tmp_path / 'a.tif')))
    boxes = torch.tensor([[5.0, 5, 30, 30]])
    sample.pred_instances = InstanceData(bboxes=boxes, scores=torch.ones(1), labels=torch.zeros(1).long())
    hook = HOOKS.build(
        dict(type='PredictionHook', out_dir=str(tmp_path), decoder=dict(type='SensorDecoder', channels=4))
    )

    class Data:
        metainfo = dict(classes=('cell',), palette=[(255, 0, 0)])

    class Loader:
        dataset = Data()

    class Runner:
        test_dataloader = Loader()

    hook.after_test_iter(Runner(), 0, outputs=[sample])
    picture = np.asarray(Image.open(tmp_path / '000_a.png'))
    plain = as_picture(image)
    shown = picture[-40:, :60]
    assert (shown[34:, 34:] == plain[34:, 34:]).all() and (shown != plain).any()
