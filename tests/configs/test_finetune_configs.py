"""Every fine-tuning config builds, trains one step and predicts; the recipes hold the papers' numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from densecl.sample import sample_root

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
DETECTION = [
    'detection/mask-rcnn_r18_fpn_small-coco.py',
    'detection/mask-rcnn_r50_fpn_1x_coco.py',
    'detection/mask-rcnn_r50_fpn_2x_coco.py',
    'detection/faster-rcnn_r50_c4_24k_voc0712.py',
]
SEGMENTATION = [
    'segmentation/fcn_r18_camvid.py',
    'segmentation/fcn_r50_voc12aug.py',
    'segmentation/fcn_r50_cityscapes.py',
]
SAMPLE = 'detection/mask-rcnn_vit-small-slim_simple-pyramid_sample.py'


def load(name):
    cfg = Config.fromfile(CONFIGS / name)
    init_default_scope(cfg.default_scope)
    return cfg


def without_sync(node):
    """SyncBN wants a process group; a test is one process."""
    if isinstance(node, dict):
        if node.get('type') == 'SyncBN':
            node['type'] = 'BN'
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            without_sync(child)


def build(cfg):
    model_cfg = cfg.model.copy()
    without_sync(model_cfg)
    if 'roi_head' in model_cfg:  # 512 regions an image are for GPUs
        model_cfg.train_cfg.rcnn.sampler.num = 16
        model_cfg.test_cfg.rpn.max_per_img = 20
    model = MODELS.build(model_cfg)
    model.init_weights()
    return model


@pytest.mark.parametrize('name', DETECTION + SEGMENTATION)
def test_schedules_follow_another_length_of_the_run(name):
    """``train_cfg.max_iters=...`` is enough: no schedule of the rate has the recipe's own length in it."""
    cfg = load(name)
    assert all(s.get('end', 0) < cfg.train_cfg.max_iters and 'T_max' not in s for s in cfg.param_scheduler)


def detection_batch(size=128):
    """Two noise images with two objects each, as PackDetInputs hands them on."""
    samples = []
    for _ in range(2):
        sample = DetDataSample(
            metainfo=dict(img_shape=(size, size), ori_shape=(size, size), scale_factor=(1.0, 1.0))
        )
        masks = np.zeros((2, size, size), np.uint8)
        masks[0, 8:64, 8:72] = masks[1, 40:120, 50:110] = 1
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[8.0, 8, 72, 64], [50, 40, 110, 120]]),
            labels=torch.tensor([0, 0]),
            masks=BitmapMasks(masks, size, size),
        )
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0))
        samples.append(sample)
    images = [torch.randint(0, 256, (3, size, size), dtype=torch.uint8) for _ in range(2)]
    return dict(inputs=images, data_samples=samples)


def segmentation_batch(size=129):
    samples = []
    for _ in range(2):
        label = torch.randint(0, 11, (1, size, size))
        label[:, :5] = 255
        sample = SegDataSample(metainfo=dict(img_shape=(size, size), ori_shape=(size, size)))
        sample.gt_sem_seg = PixelData(data=label)
        samples.append(sample)
    images = [torch.randint(0, 256, (3, size, size), dtype=torch.uint8) for _ in range(2)]
    return dict(inputs=images, data_samples=samples)


def backward(model, batch):
    model.train()
    data = model.data_preprocessor(batch, training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    return loss


# the 2x config is the model of 1x
STEPPED = [n for n in DETECTION if '_2x_' not in n] + SEGMENTATION


@pytest.mark.parametrize('name', STEPPED)
def test_one_step_trains_every_layer(name):
    cfg = load(name)
    model = build(cfg)
    if name in SEGMENTATION:
        model.data_preprocessor.size = (129, 129)
    loss = backward(model, detection_batch() if name in DETECTION else segmentation_batch())
    assert torch.isfinite(loss)
    trained = model.backbone
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained.parameters())
    assert trained.conv1.weight.grad.abs().sum() > 0
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert all(norm.training and norm.weight.requires_grad for norm in norms)


@pytest.mark.parametrize('name', DETECTION + SEGMENTATION)
def test_images_arrive_as_in_pretraining(name):
    """RGB, ImageNet mean and deviation; the plain stem; weights neither downloaded nor frozen."""
    cfg = load(name)
    preprocessor, backbone = cfg.model.data_preprocessor, cfg.model.backbone
    assert preprocessor.mean == [123.675, 116.28, 103.53]
    assert preprocessor.std == [58.395, 57.12, 57.375]
    assert preprocessor.bgr_to_rgb is True
    assert backbone.type == 'ResNet' and backbone.get('style') == 'pytorch'
    assert backbone.frozen_stages == -1 and backbone.norm_eval is False
    assert backbone.init_cfg is None and cfg.model.get('pretrained') is None
    assert cfg.get('work_dir') is None and cfg.default_scope in ('mmdet', 'mmseg')


@pytest.mark.parametrize(
    'name, lr, iterations, milestones',
    [
        ('detection/mask-rcnn_r50_fpn_1x_coco.py', 0.02, 90_000, [60_000, 80_000]),
        ('detection/mask-rcnn_r50_fpn_2x_coco.py', 0.02, 180_000, [120_000, 160_000]),
        ('detection/faster-rcnn_r50_c4_24k_voc0712.py', 0.02, 24_000, [18_000, 22_000]),
        ('segmentation/fcn_r50_voc12aug.py', 0.003, 30_000, [21_000, 27_000]),
        ('segmentation/fcn_r50_cityscapes.py', 0.01, 90_000, [63_000, 81_000]),
    ],
)
def test_recipes_of_the_papers(name, lr, iterations, milestones):
    cfg = load(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (lr, 0.9, 1e-4)
    assert cfg.train_cfg.max_iters == iterations
    assert cfg.param_scheduler[-1].milestones == milestones
    assert all(scheduler.by_epoch is False for scheduler in cfg.param_scheduler)
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.model.backbone.norm_cfg.type == 'SyncBN'


def test_sync_bn_stands_in_neck_and_heads_of_mask_rcnn():
    model = load('detection/mask-rcnn_r50_fpn_1x_coco.py').model
    parts = [model.backbone, model.neck, model.roi_head.bbox_head, model.roi_head.mask_head]
    assert [part.norm_cfg.type for part in parts] == 4 * ['SyncBN']
    assert model.roi_head.bbox_head.type == 'mmdet.Shared4Conv1FCBBoxHead'


def test_c4_head_has_the_names_of_the_fifth_stage():
    model = build(load('detection/faster-rcnn_r50_c4_24k_voc0712.py'))
    keys = model.roi_head.shared_head.state_dict()
    assert keys['layer4.0.conv1.weight'].shape == (512, 1024, 1, 1)
    assert not any(key.startswith('layer4') for key in model.backbone.state_dict())


def test_fcn_has_the_output_stride_and_dilations_of_the_protocol():
    model = build(load('segmentation/fcn_r50_voc12aug.py'))
    dilations = [m.dilation[0] for m in model.backbone.layer4.modules() if _is_3x3(m)]
    assert dilations == [2, 2, 2]
    assert [m.dilation[0] for m in model.decode_head.convs.modules() if _is_3x3(m)] == [6, 6]
    model.eval()
    assert model.backbone(torch.zeros(1, 3, 128, 128))[-1].shape[-2:] == (8, 8)


def _is_3x3(module):
    return isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3)


def load_dataset(cfg):
    return DATASETS.build(cfg)


@pytest.mark.parametrize('name', DETECTION)
def test_detection_pipelines_take_a_real_photo(name):
    """The photos of the bundled sample go through the training and test pipelines of each config."""
    cfg = load(name)
    data = load(SAMPLE).train_dataloader.dataset
    for pipeline in (cfg.train_pipeline, cfg.test_pipeline):
        data.pipeline = pipeline
        sample = load_dataset(data)[0]
        shape = sample['inputs'].shape
        assert sample['data_samples'].img_shape == shape[1:]
        if 'r50' in name:
            low = 480 if 'voc' in name else 640
            assert low <= min(shape[1:]) <= 800 or max(shape[1:]) == 1333


@pytest.mark.parametrize('name', SEGMENTATION)
def test_segmentation_pipelines_take_a_real_photo(name):
    cfg = load(name)
    root = sample_root()
    info = dict(
        img_path=str(next((root / 'detection' / 'train').iterdir())),
        reduce_zero_label=False,
        label_map=None,
        seg_fields=[],
    )
    stem = Path(info['img_path']).stem
    info['seg_map_path'] = str(root / 'segmentation' / 'train' / f'{stem}.png')
    sample = Compose(cfg.train_pipeline)(dict(info, seg_fields=[]))
    assert max(sample['inputs'].shape[1:]) <= cfg.crop_size[0]
    assert sample['data_samples'].gt_sem_seg.data.shape[1:] == sample['inputs'].shape[1:]
    tested = Compose(cfg.val_dataloader.dataset.pipeline)(dict(info, seg_fields=[]))
    assert tested['inputs'].shape[0] == 3
