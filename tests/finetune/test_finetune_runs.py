"""A written config trains, tests and draws with real mmdet and mmseg."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from densecl.cli import main
from densecl.engine import launch
from densecl.finetune import finetune, write_config
from densecl.registry import MODELS
from densecl.runs.pictures import open_networks
from densecl.runs.run import Run
from densecl.transfer import read_weights


@pytest.mark.parametrize(
    'kind, backbone, figures',
    [
        ('boxes', 'lite0', {'box AP', 'box AP50'}),
        ('masks', 'resnet', {'box AP', 'box AP50', 'mask AP', 'mask AP50'}),
        ('maps', 'lite0', {'mIoU', 'pixel accuracy'}),
    ],
)
def test_trains_tests_and_draws(kind, backbone, figures, starts, coco, label_maps, tmp_path):
    data = label_maps() if kind == 'maps' else coco(masks=kind == 'masks')
    out = tmp_path / 'out'
    config = write_config(starts[backbone], data, out, size='slim', iters=10, batch=2)
    found = finetune(config, pictures=1)
    assert set(found) == figures
    assert json.loads((out / 'metrics.json').read_text()) == found
    assert len(list((out / 'pictures').glob('*.png'))) == 1

    if kind == 'boxes':  # it had ended, so it is only tested
        (out / 'metrics.json').unlink()
        with pytest.raises(SystemExit) as left:
            main(['finetune', 'unused', '--data', 'unused', '--out', str(out), '--resume'])
        assert not left.value.code
        assert json.loads((out / 'metrics.json').read_text()) == found
    (encoder,) = open_networks([str(out)], 'auto').values()
    assert Run(out).photos == []  # not those of a pretraining

    trained = torch.load(out / 'iter_10.pth', weights_only=False)['state_dict']
    before = {k.removeprefix('backbone.'): v for k, v in read_weights(starts[backbone]).tensors.items()}
    own = {k.removeprefix('backbone.'): v for k, v in trained.items() if k.startswith('backbone.')}
    means = [k for k in own if k.endswith('running_mean')]
    weights = [k for k in own if k.endswith('weight') and own[k].ndim == 4]
    assert means and all(torch.equal(own[k], before[k]) for k in means), 'statistics are held'
    learned = encoder.backbone.state_dict()
    assert all(torch.equal(learned[k], own[k]) for k in weights)
    changed = [k for k in weights if not torch.equal(own[k], before[k])]
    assert len(changed) > 0.9 * len(weights)
    assert all((own[k] - before[k]).abs().max() < 0.01 for k in weights), 'a tenth of the rate'


def test_a_second_run_of_the_process_has_its_figures_in_its_own_folder(starts, coco, tmp_path):
    for name in ('first', 'second'):
        config = write_config(starts['lite0'], coco(), tmp_path / name, size='slim', iters=10, batch=2)
        cfg = launch.load_config(str(config), str(tmp_path / name), None, 'none')
        runner = launch.build_runner(cfg)
        runner.visualizer.add_scalar('loss', 1.0)
        assert len(list((tmp_path / name).glob('*/vis_data/scalars.json'))) == 1


@pytest.mark.parametrize('kind', ['boxes', 'masks', 'maps'])
def test_a_transformer_takes_a_step(kind, starts, coco, label_maps, tmp_path):
    data = label_maps() if kind == 'maps' else coco(masks=kind == 'masks')
    config = write_config(starts['vit'], data, tmp_path / 'out', size='slim', iters=10, batch=2)
    cfg = launch.load_config(str(config), str(tmp_path / 'out'), None, 'none')
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    runner = launch.build_runner(cfg)
    assert type(runner.model.backbone).__module__ == 'mmseg.models.backbones.vit'
    batch = next(iter(runner.build_dataloader(cfg.train_dataloader, seed=0)))
    runner.model.train()
    data = runner.model.data_preprocessor(batch, training=True)
    loss, _ = runner.model.parse_losses(runner.model(**data, mode='loss'))
    loss.backward()
    assert loss.isfinite()
    assert runner.model.backbone.layers[0].ffn.layers[1].weight.grad.abs().sum() > 0


@pytest.mark.parametrize('kind', ['masks', 'maps'])
@pytest.mark.parametrize(
    'start', ['vit of 8 px', 'DINOv2', 'BEiT', 'fine-tuned BEiT', 'ViTDet', 'DINOv3', 'CAPI', 'CLIP ViT']
)
def test_transformers_of_all_kinds_give_their_own_features(
    kind, start, starts, backbones, coco, label_maps, tmp_path
):
    """Small patches, patches of 14, layer scale, registers, relative and rotary positions."""
    data = label_maps() if kind == 'maps' else coco(masks=True)
    config = write_config(starts[start], data, tmp_path / 'out', size='slim', iters=10, batch=2)
    cfg = launch.load_config(str(config), str(tmp_path / 'out'), None, 'none')
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    runner = launch.build_runner(cfg)
    runner.call_hook('before_train')
    model = runner.model
    batch = next(iter(runner.build_dataloader(cfg.train_dataloader, seed=0)))
    model.train()
    data = model.data_preprocessor(batch, training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None for n, p in model.backbone.named_parameters() if p.requires_grad)
    if getattr(model.backbone, 'rope', None) is not None:
        assert model.backbone.rope.rescale is None, 'places are stretched in pretraining alone'

    patch = backbones[start].get('patch_size', 16)
    if kind == 'masks':
        strides = [s[0] for s in model.rpn_head.prior_generator.strides]
        assert strides == [patch / 4 * s if patch > 8 else patch / 2 * s for s in (1, 2, 4, 8, 16)]
        assert model.roi_head.bbox_roi_extractor.featmap_strides == strides[:4]
        assert model.roi_head.mask_roi_extractor.featmap_strides == strides[:4]
        sides = [m.shape[-1] for m in model.neck(model.backbone(torch.zeros(1, 3, 8 * patch, 8 * patch)))]
        assert sides == [8 * patch / s for s in strides]
    with torch.no_grad():
        images = torch.randn(1, 3, 4 * patch, 6 * patch)
        pretrained = MODELS.build(dict(backbones[start], _scope_='densecl')).eval()
        pretrained.load_state_dict(
            {k.removeprefix('backbone.'): v for k, v in read_weights(starts[start]).tensors.items()}
        )
        model.eval()
        maps = [level for level in pretrained(images) if level.shape[2:] == (4, 6)]
        torch.testing.assert_close(model.backbone(images)[-1], maps[-1])


def test_four_bands_of_12_bits(starts, label_maps, tmp_path):
    root = label_maps()
    for path in (root / 'images').iterdir():
        bands = np.asarray(Image.open(path).convert('RGB')).astype(np.uint16) * 16
        np.save(path.with_suffix('.npy'), np.concatenate([bands, bands[..., :1]], axis=2))
        path.unlink()
    config = write_config(starts['four'], root, tmp_path / 'out', size='slim', iters=10, batch=2)
    assert 'mIoU' in finetune(config, pictures=1)
    cfg = launch.read_config(str(config))
    assert cfg.train_pipeline[0] == dict(type='densecl.LoadSensorImage', channels=4, dtype='uint16')
    assert len(cfg.model.data_preprocessor.mean) == 4 and cfg.model.backbone.in_channels == 4
    assert len(list((tmp_path / 'out/pictures').glob('*.png'))) == 1


def test_full_size_and_levels(starts, coco, tmp_path):
    config = write_config(starts['resnet'], coco(masks=True), tmp_path / 'out', size='full')
    cfg = launch.read_config(str(config))
    assert cfg.model.backbone.out_indices == (0, 1, 2, 3) and 'dilations' not in cfg.model.backbone
    assert cfg.model.neck.in_channels == [64, 128, 256, 512]
    assert cfg.model.roi_head.bbox_head.type == 'mmdet.Shared4Conv1FCBBoxHead'
    assert cfg.optim_wrapper.optimizer.lr == 2e-4
    assert cfg.train_dataloader.batch_size == 5, 'five of six images are for training'


def test_minutes_become_iterations(starts, label_maps, tmp_path, monkeypatch):
    from densecl.finetune import speed

    monkeypatch.setattr(speed, 'seconds_per_step', lambda config: 0.5)
    config = write_config(starts['lite0'], label_maps(), tmp_path / 'out', size='slim', minutes=2)
    assert launch.read_config(str(config)).max_iters == 204  # 0.85 * 120 / 0.5
    with pytest.raises(ValueError, match='minutes=0.1: a step takes 0.5 s here; at least'):
        write_config(starts['lite0'], tmp_path / 'maps', tmp_path / 'out', size='slim', minutes=0.1)


def test_a_step_is_timed_in_its_precision(starts, label_maps, tmp_path, monkeypatch):
    from densecl.finetune.speed import seconds_per_step

    options = dict(size='slim', batch=2, iters=10)
    config = write_config(starts['lite0'], label_maps(), tmp_path / 'out', **options, amp='bf16')
    assert launch.read_config(str(config)).optim_wrapper.type == 'densecl.BF16OptimWrapper'
    seen = []
    plain = torch.autocast.__enter__
    monkeypatch.setattr(torch.autocast, '__enter__', lambda self: seen.append(self) or plain(self))
    assert 0.001 < seconds_per_step(config) < 60
    assert any(each._enabled and each.fast_dtype == torch.bfloat16 for each in seen)
    for amp, said in (
        ('half', "amp must be None, 'bf16' or 'fp16', got 'half'"),
        ('fp16', '--amp fp16 needs a GPU; --amp bf16 runs on this CPU'),
    ):
        monkeypatch.setattr(launch, 'get_device', lambda: 'cpu')
        with pytest.raises(ValueError, match=said):
            write_config(starts['lite0'], tmp_path / 'maps', tmp_path / 'other', **options, amp=amp)
    assert not (tmp_path / 'other').exists()
