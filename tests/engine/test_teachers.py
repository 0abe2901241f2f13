"""A distillation: the teacher stays as it is, is in no backbone, and its licence goes along."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from densecl.compat import load_checkpoint
from densecl.datasets import PretrainDataset
from densecl.datasets.feature_maps import FeatureMaps
from densecl.datasets.transforms import WholeImage
from densecl.engine import launch
from densecl.registry import MODELS
from densecl.tools import tools
from densecl.transfer import export_backbone
from densecl.transfer.start import Start
from tests.engine.test_resume import resumed

CONFIGS = Path(__file__).parents[2] / 'configs'
VIT = dict(type='TimmViT', img_size=64, patch_size=8, embed_dim=8, depth=1, num_heads=1)


@pytest.fixture
def strong(tmp_path):
    """Weights of a teacher, and the file that they are in."""
    torch.manual_seed(3)
    tensors = MODELS.build(VIT).state_dict()
    start = Start('strong', VIT, tensors, (127.5,) * 3, (127.5,) * 3, licence='CC-BY-NC-4.0', origin='a lab')
    return tensors, str(start.save(tmp_path / 'strong.pth'))


def distillation(tiny, start, **target):
    """The small recipe, smaller."""
    cfg = Config.fromfile(CONFIGS / 'distillation/distillation_resnet18_1xb64-coslr-16e_photos.py')
    cfg.merge_from_dict({name: tiny[name] for name in ('work_dir', 'launcher', 'log_level', 'train_cfg')})
    head = cfg.model.heads.cells
    head.units.grid, head.projector.channels = 2, (512, 8)
    head.objective.objectives[0].dim = 8
    teacher = dict(backbone=dict(VIT, output_cls_token=False), channels=8, patch=8, stride=8)
    head.target = dict(teacher, type='TeacherFeatures', start=start, **target)
    cfg.train_dataloader.update(batch_size=5, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.data_root = tiny.train_dataloader.dataset.data_root
    cfg.train_dataloader.dataset.pipeline[0].views[0].size = 64
    return cfg


def test_of_a_small_run(tiny_config, strong, tmp_path):
    tensors, start = strong
    cfg = distillation(tiny_config(), start)
    runner = launch.build_runner(cfg)
    before = {k: v.clone() for k, v in runner.model.backbone.state_dict().items()}
    runner.train()

    checkpoint = load_checkpoint(tmp_path / 'run/epoch_2.pth')
    state = checkpoint['state_dict']
    frozen = {k: v for k, v in state.items() if k.startswith('heads.cells.target.backbone.')}
    assert len(frozen) == len(tensors), 'saved, and once'
    for name, value in tensors.items():
        assert torch.equal(frozen[f'heads.cells.target.backbone.{name}'], value), name
    moved = [
        k for k, v in before.items() if v.is_floating_point() and not torch.equal(v, state[f'backbone.{k}'])
    ]
    assert len(moved) > len(before) / 2
    said = checkpoint['meta']['teachers']['cells']
    assert said['licence'] == 'CC-BY-NC-4.0' and said['origin'].endswith('a lab')
    export = export_backbone(checkpoint, 'safetensors')
    assert export['meta']['teachers'] == checkpoint['meta']['teachers']
    assert not [k for k in export['state_dict'] if 'blocks' in k], 'no teacher in an export'
    assert int(state['heads.cells.objective.objectives.0.queue.enqueued']) == 20

    Path(start).unlink()  # a run that goes on has its teacher
    launch.build_runner(resumed(cfg, tmp_path / 'run/epoch_1.pth', tmp_path / 'again')).train()
    again = load_checkpoint(tmp_path / 'again/epoch_2.pth')
    assert again['meta']['teachers'] == checkpoint['meta']['teachers']
    assert all(torch.equal(again['state_dict'][name], value) for name, value in state.items())


def test_a_teacher_that_was_asked_before(tiny_config, strong, tmp_path):
    """Maps are made by the tool, the training reads them, and has no teacher."""
    cfg = distillation(tiny_config(), strong[1], maps=str(tmp_path / 'maps'))
    cfg.dump(tmp_path / 'config.py')
    with pytest.raises(FileNotFoundError, match='has no feature maps'):
        launch.build_runner(cfg.copy()).train()
    command = [
        sys.executable,
        tools()['make_maps'],
        tmp_path / 'config.py',
        '--cells',
        '12',
        '--batch-size',
        '4',
    ]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert 'maps of 10 images, 8 channels of 12 x 12 cells' in said
    maps = FeatureMaps(tmp_path / 'maps')
    assert maps.made == dict(start=strong[1], level=-1, stride=8)
    other = cfg.copy()
    other.model.heads.cells.target.stride = 4
    with pytest.raises(ValueError, match=r"maps was made with .*'stride': 8}, the target has .*'stride': 4}"):
        launch.build_runner(other).train()
    cfg.model.heads.cells.target.stride = 8
    teacher = MODELS.build(dict(VIT, output_cls_token=False)).eval()
    teacher.load_state_dict(strong[0])
    data = PretrainDataset(cfg.train_dataloader.dataset.data_root, pipeline=[WholeImage(96)])
    pixels = data[3].images[0].permute(2, 0, 1)[None].float()
    with torch.no_grad():
        want = teacher((pixels - 127.5) / 127.5)[0][0]
    torch.testing.assert_close(maps[data.image_id(3)].float(), want, atol=5e-3, rtol=5e-3)

    Path(strong[1]).unlink()
    cfg.work_dir = str(tmp_path / 'mapped')
    launch.build_runner(cfg).train()
    checkpoint = load_checkpoint(tmp_path / 'mapped/epoch_2.pth')
    assert not [name for name in checkpoint['state_dict'] if 'target.backbone' in name]
    assert checkpoint['meta']['teachers']['cells']['licence'] == 'CC-BY-NC-4.0'
    losses = checkpoint['message_hub']['log_scalars']['train/loss']._log_history
    assert len(losses) == 4 and all(0 < loss < 20 for loss in losses)
