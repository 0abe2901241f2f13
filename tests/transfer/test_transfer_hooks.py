"""``--pretrained`` in a runner: when it loads, and when it must not."""

import itertools
import shutil
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader
from transfer import layouts as of

from densecl.engine.exported import run_meta
from densecl.registry import MODELS
from densecl.transfer import PretrainedHook, export_backbone, save_export

numbers = itertools.count()


class Small(BaseModel):
    """A detector stand-in whose backbone is mmdet's, with the stock ``init_cfg``."""

    def __init__(self, **backbone):
        super().__init__()
        init = dict(type='Pretrained', checkpoint='https://no.such.host/resnet18.pth')
        config = dict(type='mmdet.ResNet', depth=18, frozen_stages=-1, norm_eval=False)
        self.backbone = MODELS.build(config | dict(init_cfg=init) | backbone)
        self.head = torch.nn.Linear(512, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return {'loss': self.head(self.backbone(inputs)[-1].mean((2, 3))).mean()}


def run(work_dir, checkpoint, resume=False, lr=0.0, backbone=None, hook=True, **kwargs):
    images = [torch.zeros(3, 32, 32), torch.ones(3, 32, 32)]
    loader = DataLoader(images, batch_size=2, collate_fn=lambda x: dict(inputs=torch.stack(x)))
    runner = Runner(
        model=Small(**(backbone or {})),
        work_dir=str(work_dir),
        train_dataloader=loader,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr)),
        train_cfg=dict(by_epoch=True, max_epochs=2 if resume else 1),
        custom_hooks=[dict(type='densecl.PretrainedHook', checkpoint=str(checkpoint))] if hook else [],
        resume=resume,
        default_scope='mmengine',
        experiment_name=f'run{next(numbers)}',
        **kwargs,
    )
    runner.train()
    return runner


def first_conv(model):
    return model.backbone.conv1.weight.detach()


def logs(work_dir):
    return '\n'.join(p.read_text() for p in sorted(work_dir.rglob('*.log')))


def test_loads_after_initialisation(pretrained, tmp_path):
    path, source = pretrained
    runner = run(tmp_path / 'a', path)
    assert torch.equal(first_conv(runner.model), first_conv(source))
    log = logs(tmp_path / 'a')
    assert '100 of 100 backbone tensors (100.0 %)' in log
    assert 'replaces the init_cfg' in log and 'frozen_stages' not in log


def test_resumed_run_keeps_its_weights(pretrained, tmp_path):
    path, source = pretrained
    first = run(tmp_path / 'a', path, lr=0.1)
    assert not torch.equal(first_conv(first.model), first_conv(source))
    shutil.copytree(tmp_path / 'a', tmp_path / 'b')
    second = run(tmp_path / 'a', path, resume=True)
    expected = run(tmp_path / 'b', path, resume=True, hook=False, backbone=dict(init_cfg=None))
    assert torch.equal(first_conv(second.model), first_conv(expected.model))
    assert 'resumed, so' in logs(tmp_path / 'a')


def test_resume_with_nothing_to_resume_still_loads(pretrained, tmp_path):
    path, source = pretrained
    runner = run(tmp_path / 'a', path, resume=True)
    assert torch.equal(first_conv(runner.model), first_conv(source))


def test_export_wins_over_load_from(pretrained, tmp_path):
    path, source = pretrained
    other = tmp_path / 'other.pth'
    torch.save({'state_dict': Small(init_cfg=None).state_dict()}, other)
    file = save_export(export_backbone(path, 'safetensors', 'target'), tmp_path / 'x.safetensors')
    runner = run(tmp_path / 'a', file, load_from=str(other))
    assert torch.equal(first_conv(runner.model), source.target.backbone.conv1.weight)
    assert torch.equal(runner.model.head.weight, torch.load(other)['state_dict']['head.weight'])


def test_misfit_stops_the_run(pretrained, tmp_path):
    with pytest.raises(RuntimeError, match='ResNet-18, the model a ResNet-34'):
        run(tmp_path / 'a', pretrained[0], backbone=dict(depth=34))
    with pytest.raises(FileNotFoundError, match="no.pth': no such file; expected a path"):
        run(tmp_path / 'b', tmp_path / 'no.pth')


def test_frozen_parts_are_warned_about(pretrained, tmp_path):
    run(tmp_path / 'a', pretrained[0], backbone=dict(frozen_stages=1, norm_eval=True))
    log = logs(tmp_path / 'a')
    assert 'backbone.frozen_stages=1;' in log and 'backbone.norm_eval=True freezes' in log


def test_a_file_of_another_project_is_renamed(tmp_path):
    """DINOv2 with registers has names of its own, and a position of the class token; others stay refused."""
    path, names = tmp_path / 'dinov2.pth', of.dinov2_registers()
    torch.save(names, path)
    sizes = dict(embed_dim=32, depth=2, patch_size=8, img_size=32)
    vit = dict(type='TimmViT', arch='vit_small_patch14_reg4_dinov2', num_heads=1, **sizes)
    model = MODELS.build(vit)
    _, report = PretrainedHook(str(path))._load(model)
    assert report.fraction == 1 and torch.equal(model.reg_token, names['register_tokens'])
    torch.testing.assert_close(model.cls_token, names['cls_token'] + names['pos_embed'][:, :1])
    with pytest.raises(RuntimeError, match='refused to load'):
        PretrainedHook(str(path))._load(MODELS.build(dict(vit, depth=3)))


def test_a_run_goes_on_from_the_start_of_its_backbone():
    """A text tower's file, whose hook stands first, says nothing of the backbone's origin and licence."""
    tower, backbone = PretrainedHook('text.pth', part='heads.text.target.tower'), PretrainedHook('images.pth')
    tower.start, backbone.start = dict(name='text'), dict(name='images')
    cfg = SimpleNamespace(pretty_text='')
    runner = SimpleNamespace(cfg=cfg, experiment_name='run', hooks=[tower, backbone])
    assert run_meta(runner)['start'] == dict(name='images')
    runner.hooks = [tower]
    assert run_meta(runner)['start'] is None
