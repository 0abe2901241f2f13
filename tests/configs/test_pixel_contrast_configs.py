"""Stock segmentors of mmseg take the pixel contrast head from a config, train and predict with it."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from densecl.engine.launch import use_plain_batch_norm

FOLDER = Path(__file__).resolve().parents[2] / 'configs' / 'segmentation'
SMALL = ['fcn_r18_camvid_pixel-contrast', 'deeplabv3plus_r18_camvid_pixel-contrast']
STOCK = ['fcn_r50-d8_pixel-contrast_cityscapes', 'deeplabv3plus_r50-d8_pixel-contrast_cityscapes']


def load(name):
    cfg = Config.fromfile(FOLDER / f'{name}.py')
    init_default_scope(cfg.default_scope)
    use_plain_batch_norm(cfg._cfg_dict)
    cfg.model.update(pretrained=None)
    cfg.model.data_preprocessor.size = (64, 64)
    return cfg


def batch(classes, size=64):
    samples = []
    for _ in range(2):
        label = torch.randint(0, classes, (1, 4, 4)).repeat_interleave(16, 1).repeat_interleave(16, 2)
        label[:, :5] = 255
        sample = SegDataSample(metainfo=dict(img_shape=(size, size), ori_shape=(size, size)))
        sample.gt_sem_seg = PixelData(data=label)
        samples.append(sample)
    return dict(inputs=[torch.randint(0, 256, (3, size, size)) for _ in range(2)], data_samples=samples)


def step(model, data):
    data = model.data_preprocessor(data, training=True)
    loss, logged = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    return loss, logged


def contrast_of(model):
    heads = model.auxiliary_head
    return heads[1] if isinstance(heads, torch.nn.ModuleList) else heads


@pytest.mark.parametrize('name', SMALL + STOCK)
def test_trains_and_predicts(name):
    cfg = load(name)
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.train()
    head = contrast_of(model)
    head.sampling.update(min_pixels=1)
    prefix = 'aux_1' if name in STOCK else 'aux'
    loss, logged = step(model, batch(cfg.model.decode_head.num_classes))
    assert logged[f'{prefix}.loss_contrast'] == 0  # warm-up
    head.iterations += head.warmup_iters
    loss, logged = step(model, batch(cfg.model.decode_head.num_classes))
    assert torch.isfinite(loss)
    assert logged[f'{prefix}.loss_contrast'] > 0.01
    assert logged[f'{prefix}.anchors'] > 10
    named = dict(head.named_parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in named.items() if 'weight' in n)
    with torch.no_grad():
        result = model.eval().test_step(batch(cfg.model.decode_head.num_classes))
    assert result[0].pred_sem_seg.data.shape == (1, 64, 64)


@pytest.mark.parametrize('name', STOCK)
def test_the_stock_config_is_left_as_it_is(name):
    cfg = load(name)
    stock = 'FCNHead' if name.startswith('fcn') else 'DepthwiseSeparableASPPHead'
    assert cfg.model.decode_head.type == stock
    assert cfg.model.auxiliary_head[0].type == 'FCNHead'
    assert cfg.model.auxiliary_head[0].loss_decode.loss_weight == 0.4
    head = contrast_of(MODELS.build(cfg.model))
    assert head.sampling == dict(num_classes=19, max_views=100, max_anchors=1024, min_pixels=101)
    assert (head.temperatures, head.loss_weight, head.warmup_iters) == ((0.1, 0.07), 0.1, 5000)
    assert cfg.train_cfg.max_iters == 40_000
    assert cfg.train_dataloader.batch_size == 2


def test_the_small_config_differs_from_plain_fcn_in_the_head_alone():
    plain = Config.fromfile(FOLDER / 'fcn_r18_camvid.py').to_dict()
    contrast = load('fcn_r18_camvid_pixel-contrast').to_dict()
    contrast['model'].pop('auxiliary_head')
    plain['model'].pop('auxiliary_head')
    for cfg in (plain, contrast):
        cfg['model'].pop('pretrained')
        cfg['model']['data_preprocessor'].pop('size')
    assert contrast == plain
