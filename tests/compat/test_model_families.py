"""Stock configs of mmdet and mmseg build, train one step and predict on the stand-in."""

import pytest
import torch

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from tools.support.trial import try_model

DETECTION = {
    'Mask R-CNN': 'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'Faster R-CNN': 'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'RetinaNet': 'retinanet/retinanet_r50_fpn_1x_coco.py',
    'Cascade R-CNN': 'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
    'FCOS': 'fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'DETR': 'detr/detr_r50_8xb2-150e_coco.py',
    'Deformable DETR': 'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
}
SEGMENTATION = {
    'FCN': 'fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    'PSPNet': 'pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    'DeepLabV3+': 'deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    'UPerNet': 'upernet/upernet_r50_4xb2-40k_cityscapes-512x1024.py',
}
DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('family', DETECTION)
def test_detectors_train_and_predict(family, device):
    trial = try_model(f'mmdet::{DETECTION[family]}', size=96, device=device)
    found = trial.prediction.pred_instances
    assert len(found) > 0
    assert found.bboxes.shape == (len(found.scores), 4)
    assert torch.isfinite(found.bboxes).all() and torch.isfinite(found.scores).all()
    if family == 'Mask R-CNN':
        assert found.masks.shape == (len(found), 96, 96)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('family', SEGMENTATION)
def test_segmentors_train_and_predict(family, device):
    trial = try_model(f'mmseg::{SEGMENTATION[family]}', size=64, device=device)
    labels = trial.prediction.pred_sem_seg.data
    assert labels.shape == (1, 64, 64)
    assert int(labels.min()) >= 0 and int(labels.max()) < 19
    assert torch.isfinite(trial.prediction.seg_logits.data).all()


@pytest.mark.parametrize(
    'device, dtype',
    [
        ('cpu', torch.bfloat16),
        pytest.param('cuda', torch.bfloat16, marks=pytest.mark.gpu),
        pytest.param('cuda', torch.float16, marks=pytest.mark.gpu),
    ],
)
@pytest.mark.parametrize('family', ['Mask R-CNN', 'Deformable DETR'])
def test_detectors_run_in_mixed_precision(family, device, dtype):
    with torch.autocast(device, dtype):
        trial = try_model(f'mmdet::{DETECTION[family]}', size=96, device=device)
    assert len(trial.prediction.pred_instances) > 0
    assert torch.isfinite(trial.prediction.pred_instances.bboxes).all()
