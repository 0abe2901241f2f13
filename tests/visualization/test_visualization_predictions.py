"""Masks, boxes and label maps are painted where they are; the hook writes its sheets."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from densecl.visualization import PredictionHook, draw_detections, draw_segmentation, save_image

RED, BLUE = (200, 0, 0), (0, 0, 200)


def test_detections():
    image = np.full((60, 80, 3), 100, np.uint8)
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 30:50, 10:30] = True
    boxes = np.array([[10.0, 30, 30, 50], [40, 30, 70, 55]])
    drawn = draw_detections(image, boxes, [1, 0], [0.9, 0.4], masks, ['a', 'b'], [RED, BLUE])
    assert (image == 100).all()
    assert (drawn[35:45, 15:25] == [55, 55, 145]).all()  # 0.55 * 100 + 0.45 * blue
    assert (drawn[49, 10:30] == BLUE).all() and (drawn[54, 40:70] == RED).all()
    assert (drawn[32:50, 45:65] == 100).all()
    plain = draw_detections(image, boxes[:0], [])
    assert np.array_equal(plain, image)


def test_segmentation():
    image = np.full((40, 60, 3), 100, np.uint8)
    labels = np.full((40, 60), 255)
    labels[:, 30:] = 1
    drawn = draw_segmentation(image, labels, ['background', 'thing'], [RED, BLUE], opacity=0.5)
    assert (drawn[:, :25] == 100).all()
    assert (drawn[:5, 30:] == [50, 50, 150]).all()
    assert not (drawn[:, 30:] == [50, 50, 150]).all()  # the name
    labels[:] = 0
    drawn = draw_segmentation(image, labels, ['background'], [RED], opacity=0.5)
    assert np.array_equal(drawn, image), 'the image shows through'
    drawn = draw_segmentation(image, labels, ['sky'], [RED], opacity=0.5)
    assert (drawn[:5] == [150, 50, 50]).all()
    with pytest.raises(ValueError, match='does not fit'):
        draw_segmentation(image, labels[1:])


class Runner:
    """What the hook asks of a runner."""

    class test_dataloader:
        class dataset:
            metainfo = dict(classes=('a', 'b'), palette=[RED, BLUE])


def det_sample(path, score):
    masks = torch.zeros(1, 60, 80, dtype=torch.bool)
    masks[:, 30:50, 10:30] = True
    box = torch.tensor([[10.0, 30, 30, 50]])
    sample = DetDataSample(metainfo=dict(img_path=str(path)))
    sample.gt_instances = InstanceData(
        bboxes=box, labels=torch.tensor([0]), masks=BitmapMasks(masks.numpy(), 60, 80)
    )
    sample.pred_instances = InstanceData(
        bboxes=box, labels=torch.tensor([1]), masks=masks, scores=torch.tensor([score])
    )
    return sample


@pytest.fixture
def photo(tmp_path):
    return save_image(tmp_path / 'photo.png', np.full((60, 80, 3), 100, np.uint8))


@pytest.mark.parametrize('score', [0.9, 0.1])
def test_hook_detections(photo, tmp_path, score):
    hook = PredictionHook(str(tmp_path / 'out'), count=3)
    hook.before_test(None)
    for batch in range(2):
        hook.after_test_iter(Runner, batch, outputs=[det_sample(photo, score)] * 2)
    files = sorted((tmp_path / 'out').iterdir())
    assert [f.name for f in files] == [f'00{i}_photo.png' for i in range(3)]
    sheet = hook.draw(np.full((60, 80, 3), 100, np.uint8), det_sample(photo, score),
                      ('a', 'b'), [RED, BLUE])  # fmt: skip
    assert (sheet[20 + 40, 15] == [145, 55, 55]).all()  # ground truth: class a
    assert (sheet[20 + 40] == [55, 55, 145]).all(-1).sum() >= 15  # prediction: class b


def test_hook_leaves_out_resized_annotations(photo):
    sample = det_sample(photo, 0.9)
    sample.gt_instances.masks = BitmapMasks(np.zeros((1, 30, 40), np.uint8), 30, 40)
    sheet = PredictionHook('x').draw(np.full((60, 80, 3), 100, np.uint8), sample, ('a', 'b'), [RED, BLUE])
    assert not (sheet == [145, 55, 55]).all(-1).any()


def test_hook_segmentation(photo):
    sample = SegDataSample(metainfo=dict(img_path=str(photo)))
    sample.gt_sem_seg = PixelData(data=torch.zeros(1, 60, 80, dtype=torch.long))
    sample.pred_sem_seg = PixelData(data=torch.ones(1, 60, 80, dtype=torch.long))
    sheet = PredictionHook('x').draw(
        np.full((60, 80, 3), 100, np.uint8), sample, ('background', 'b'), [RED, BLUE]
    )
    assert (sheet[-1, 5] == 100).all()  # background
    assert (sheet[-1] == [45, 45, 155]).all(-1).sum() == 80
