"""Four bands of 12 bits: statistics, pretraining, export, a detector that trains and predicts."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from oracles.sensor_files import four_bands, write_folder

from densecl.datasets import PretrainDataset, estimate_statistics
from densecl.engine.launch import build_runner, load_config
from densecl.inputs import parse_config
from densecl.sample import sample_root
from densecl.transfer import check_export, export_backbone, load_backbone, read_weights, save_export
from densecl.transfer.record import build_decoder, training_record
from densecl.transfer.stem import inflate_stem

ROOT = Path(__file__).parents[2]
PRETRAINING, DETECTOR = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/sensors.md').read_text(), flags=re.S)


@pytest.fixture(scope='module')
def sensor(tmp_path_factory):
    """The folder of tiffs, and its statistics by the documented decoder."""
    root = write_folder(tmp_path_factory.mktemp('field'), 8)
    decoder = dict(type='SensorDecoder', channels=4, dtype='uint16')
    return root, estimate_statistics(PretrainDataset(root / 'images', decoder=decoder))


@pytest.fixture(scope='module')
def pretrained(sensor, tmp_path_factory):
    """The checkpoint of a short pretraining by the documented config."""
    root, statistics = sensor
    out = tmp_path_factory.mktemp('pretraining')
    (out / 'config.py').write_text(PRETRAINING.replace("'configs/", f"'{ROOT}/configs/"))
    config = load_config(str(out / 'config.py'), str(out), None, 'none')
    small = dict(projector=dict(channels=(512, 32, 16)), objective=dict(queue=16, dim=16))
    changes = dict(
        model=dict(
            bn_groups=1,
            shuffle_bn=False,
            data_preprocessor=dict(statistics.settings),
            heads=dict(image=small, dense=small),
        ),
        train_dataloader=dict(
            batch_size=4,
            num_workers=0,
            persistent_workers=False,
            dataset=dict(data_root=str(root / 'images')),
        ),
        train_cfg=dict(max_epochs=2),
        default_hooks=dict(logger=dict(interval=1)),
        log_level='ERROR',
    )
    config.merge_from_dict(changes)
    config.train_dataloader.dataset.pipeline[0]['views'][0]['size'] = 64
    runner = build_runner(config)
    before = runner.model.backbone.conv1.weight.detach().clone()
    runner.train()
    assert runner.iter == 4 and not torch.equal(before, runner.model.backbone.conv1.weight)
    return out / 'epoch_2.pth'


def test_statistics_are_those_of_12_bits(sensor):
    _, statistics = sensor
    assert statistics.dtype == 'uint16' and statistics.channels == 4
    assert 3500 < max(statistics.high) <= 4095 and min(statistics.mean) > 500


def test_what_the_run_saw(sensor, pretrained):
    root, statistics = sensor
    weights = read_weights(pretrained)
    assert weights.tensors['backbone.conv1.weight'].shape == (64, 4, 7, 7)
    assert all(t.isfinite().all() for t in weights.tensors.values() if t.is_floating_point())
    record = training_record(weights, weights.tensors, 'online')
    assert record['channel_order'] is None
    assert record['mean'] == list(statistics.mean) and record['std'] == list(statistics.std)
    path = sorted((root / 'images').iterdir())[0]
    image = build_decoder(parse_config(record['config']))(path)
    photo = sample_root() / 'detection/train' / f'{path.stem}.jpg'
    np.testing.assert_array_equal(image, four_bands(photo, 96))


def test_the_export_computes_the_same(sensor, pretrained, tmp_path):
    root, _ = sensor
    weights = read_weights(pretrained)
    for target in ('mmdet', 'safetensors', 'timm'):
        export = export_backbone(weights, target)
        out = save_export(
            export, tmp_path / ('a.safetensors' if target == 'safetensors' else f'{target}.pth')
        )
        decoder = build_decoder(parse_config(export['meta']['config']))
        image = torch.from_numpy(decoder(sorted((root / 'images').iterdir())[1]))
        assert check_export(weights, out, 'online', image) < 1e-4
    with pytest.raises(ValueError, match='the image has 3 channels, the model was trained on 4'):
        check_export(weights, out, 'online', image[..., :3])


def detector_config(root: Path, statistics) -> Config:
    """configs/detection/faster-rcnn_r18_fpn_bccd.py on the tiffs, changed as documented."""
    said = {}
    exec(DETECTOR, said)
    config = Config.fromfile(ROOT / 'configs/detection/faster-rcnn_r18_fpn_bccd.py')
    said['model']['data_preprocessor'] |= {k: list(statistics.settings[k]) for k in ('mean', 'std')}
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False, batch_size=2)
        loader.dataset.update(data_root=str(root), ann_file='boxes.json', data_prefix=dict(img='images/'))
        loader.dataset.pop('metainfo')
        loader.dataset.pipeline[0] = dict(said['load'])
        loader.dataset.pipeline[1 if 'Resize' in loader.dataset.pipeline[1].type else 2].scale = (160, 96)
    config.merge_from_dict(dict(model=said['model']))
    return config


def test_a_detector_trains_and_predicts(sensor, pretrained, tmp_path):
    root, statistics = sensor
    out = save_export(export_backbone(pretrained, 'mmdet'), tmp_path / 'backbone.pth')
    config = detector_config(root, statistics)
    init_default_scope(config.default_scope)
    config.model.train_cfg.rcnn.sampler.num = 16
    config.model.roi_head.bbox_head.num_classes = 80
    model = MODELS.build(config.model)
    model.init_weights()
    report = load_backbone(model, out, strict_meta=True)
    assert report.fraction == 1 and not report.warnings
    loader = Runner.build_dataloader(config.train_dataloader)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    batches = iter(loader)
    for _ in range(2):
        data = next(batches)
        assert data['inputs'][0].dtype == torch.uint16 and data['inputs'][0].shape[0] == 4
        assert data['inputs'][0].float().max() > 2000
        data = model.data_preprocessor(data, True)
        assert data['inputs'].shape[1] == 4 and abs(data['inputs'].mean()) < 1.5
        losses, _ = model.parse_losses(model(**data, mode='loss'))
        optimizer.zero_grad()
        losses.backward()
        assert model.backbone.layer4[0].conv1.weight.grad.abs().max() > 0
        optimizer.step()
        assert losses.isfinite()
    model.eval()
    dataset = DATASETS.build(config.val_dataloader.dataset)
    sample = dataset[0]
    with torch.no_grad():
        (found,) = model.test_step({'inputs': [sample['inputs']], 'data_samples': [sample['data_samples']]})
    assert found.ori_shape[0] == 96 and found.pred_instances.bboxes.isfinite().all()


def test_an_rgb_start_and_mistakes(sensor, pretrained):
    root, statistics = sensor
    backbone = dict(type='mmdet.ResNet', depth=18)
    rgb = MODELS.build(backbone)
    four = MODELS.build({**backbone, 'in_channels': 4})
    report = load_backbone(four, {'state_dict': rgb.state_dict()})
    assert 'stem inflated 3 -> 4: conv1.weight' in str(report)
    assert torch.equal(four.conv1.weight, inflate_stem(rgb.state_dict(), 4)[0]['conv1.weight'])
    with pytest.raises(
        RuntimeError, match="reads images of 4 channels, the model's 3: set backbone.in_channels=4"
    ):
        load_backbone(rgb, pretrained)
    dataset = PretrainDataset(root / 'images', pipeline=[dict(type='MultiView', views=[{}])])
    with pytest.raises(RuntimeError, match=r'\.tif as RGB: it has 4 channels .uint16.; set dataset.decoder='):
        dataset[0]
