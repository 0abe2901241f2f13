"""Flags of the tools change the config as they say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from densecl.building import ConfigMistake
from densecl.compat import load_checkpoint
from densecl.engine import checks, launch
from densecl.engine.checks import claimed
from densecl.models.pretrainers import SharedPretrainer
from densecl.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'


def test_bf16_trains_without_a_cuda_device(tiny_config, tmp_path):
    cfg = tiny_config(**{'train_cfg.max_epochs': 1})
    launch.use_amp(cfg, 'bf16')
    runner = launch.build_runner(cfg)
    seen = []
    runner.model.backbone.register_forward_hook(lambda _, __, out: seen.append(out[-1].dtype))
    runner.train()
    assert set(seen) == {torch.bfloat16}
    state = load_checkpoint(tmp_path / 'run/iter_5.pth')['state_dict']
    assert all(v.dtype == torch.float32 for k, v in state.items() if 'weight' in k)
    assert all(torch.isfinite(v).all() for v in state.values())


def test_fp16_scales_the_loss(monkeypatch):
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1))))
    with pytest.raises(ValueError, match='--amp fp16 needs a GPU; --amp bf16 runs on this CPU'):
        launch.use_amp(cfg, 'fp16')
    monkeypatch.setattr(launch, 'get_device', lambda: 'cuda')
    launch.use_amp(cfg, 'fp16')
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.loss_scale == 'dynamic'
    for _ in range(2):  # a config that says it already
        launch.use_amp(cfg, 'bf16')
        assert cfg.optim_wrapper == dict(type='densecl.BF16OptimWrapper', optimizer=dict(type='SGD', lr=1))
    with pytest.raises(ValueError, match='--amp'):
        launch.use_amp(Config(dict(optim_wrapper=dict(type='Other'))), 'fp16')


def test_flags_of_the_backbone_are_settings_of_the_model():
    cfg = Config(dict(model=dict(type='densecl.SharedPretrainer')))
    launch.use_checkpoint_activations(cfg)
    launch.use_compile(cfg)
    assert cfg.model == dict(
        type='densecl.SharedPretrainer', checkpoint_activations=True, compile_backbone=True
    )
    with pytest.raises(ValueError, match=r'--compile is for pretraining, .* mmdet\.MaskRCNN: leave it out'):
        launch.use_compile(Config(dict(model=dict(type='mmdet.MaskRCNN'))))
    with pytest.raises(ValueError, match='--shard is for pretraining, .* FasterRCNN: leave it out'):
        launch.use_shard(Config(dict(model=dict(type='FasterRCNN'), default_scope='mmdet')))


def test_flags_are_taken_by_a_pretrainer_of_any_name():
    @MODELS.register_module(force=True)
    class RelativeScale(SharedPretrainer):
        """A method of one's own."""

    cfg = Config(dict(model=dict(type='RelativeScale')))
    launch.use_compile(cfg)
    assert cfg.model.compile_backbone


def test_parameters_without_gradient_are_allowed_where_mmengine_reads_it(tiny_config):
    cfg = tiny_config(find_unused_parameters=True)
    usual = dict(type='MMDistributedDataParallel', broadcast_buffers=False)
    wanted = [(usual, True), (dict(usual, find_unused_parameters=False), False)]
    for wrapper, allowed in wanted:
        cfg.model_wrapper_cfg = wrapper
        assert launch.build_runner(cfg).cfg.model_wrapper_cfg == dict(usual, find_unused_parameters=allowed)
    cfg.model_wrapper_cfg = None  # then mmengine reads the setting itself
    assert launch.build_runner(cfg).cfg.model_wrapper_cfg is None


def test_a_hook_of_the_base_config_is_left_out_by_none(tiny_config):
    cfg = tiny_config(**{'default_hooks.collapse': None, 'default_hooks.timer': None})
    names = [type(hook).__name__ for hook in launch.build_runner(cfg).hooks]
    assert 'MomentumUpdateHook' in names and not {'CollapseHook', 'IterTimerHook'} & set(names)


def test_sync_bn_becomes_bn_everywhere():
    cfg = Config(
        dict(
            model=dict(
                norm_cfg=dict(type='SyncBN', requires_grad=True),
                heads=[dict(norm_cfg=dict(type='SyncBN')), dict(norm_cfg=dict(type='GN'))],
            )
        )
    )
    assert launch.use_plain_batch_norm(cfg._cfg_dict) == 2
    assert cfg.model.norm_cfg.type == cfg.model.heads[0].norm_cfg.type == 'BN'
    assert cfg.model.heads[1].norm_cfg.type == 'GN'


def test_sync_bn_and_bn_groups_are_refused_together(tiny_config):
    cfg = tiny_config(**{'model.bn_groups': 2})
    cfg.sync_bn = 'torch'
    cfg.launcher = 'mpi'
    with pytest.raises(ValueError, match=r"sync_bn='torch' .* model\.bn_groups=2 .*: set sync_bn=None"):
        launch.build_runner(cfg)
    cfg.launcher = 'none'  # where nothing is converted, groups are welcome
    assert launch.build_runner(cfg).model.bn_groups == 2


@pytest.mark.parametrize('launcher, by', [('pytorch', 'torchrun'), ('slurm', 'srun')])
def test_a_launcher_that_did_not_start_this_process(launcher, by, tiny_config, monkeypatch):
    for name in ('RANK', 'SLURM_PROCID'):
        monkeypatch.delenv(name, raising=False)
    cfg = tiny_config()
    cfg.launcher = launcher
    with pytest.raises(ValueError, match=f'--launcher {launcher}: .* not started by {by} .* not set'):
        launch.build_runner(cfg)


def test_tasks_of_slurm_find_each_other(tmp_path):
    """Without a GPU, by gloo; ``scontrol`` is a stand-in, as are the variables that ``srun`` sets."""
    code = (
        'import torch, torch.distributed as dist\n'
        'from mmengine.config import Config\n'
        'from densecl.engine.launch import join_group\n'
        "join_group(Config(dict(launcher='slurm', env_cfg=dict(dist_cfg=dict(port=29719, timeout=60)))))\n"
        'number = torch.tensor(dist.get_rank() + 1)\n'
        'dist.all_reduce(number)\n'
        'print(dist.get_backend(), int(number), flush=True)\n'
    )
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames n[1-2]" ] && echo localhost && echo n2\n')
    scontrol.chmod(0o755)
    environment = {name: v for name, v in os.environ.items() if name not in ('MASTER_ADDR', 'MASTER_PORT')}
    environment['PATH'] = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    environment |= dict(CUDA_VISIBLE_DEVICES='', SLURM_NODELIST='n[1-2]', SLURM_NTASKS='2', SLURM_LOCALID='0')
    tasks = [
        subprocess.Popen(
            [sys.executable, '-c', code],
            env={**environment, 'SLURM_PROCID': str(number)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    assert [task.communicate(timeout=120)[0] for task in tasks] == ['gloo 3\n'] * 2


def test_auto_scale_lr_needs_a_base_batch_size():
    with pytest.raises(ValueError, match='base_batch_size'):
        launch.use_auto_scale_lr(Config(dict()))
    cfg = Config(dict(auto_scale_lr=dict(base_batch_size=256, enable=False)))
    launch.use_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr.enable


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'nowhere\.py'):
        launch.load_config('nowhere.py', None, None, 'none')
    with pytest.raises(FileNotFoundError, match=r'gone\.pth'):
        launch.use_pretrained(Config(dict()), 'gone.pth')
    with pytest.raises(FileNotFoundError, match=r'gone\.pth'):
        launch.use_resume(Config(dict()), 'gone.pth')


def test_weights_asked_for_replace_those_of_the_config():
    other = dict(type='densecl.GuardHook')
    cfg = Config(dict(custom_hooks=[dict(type='PretrainedHook', checkpoint='a.pth'), other]))
    launch.use_pretrained(cfg, 'imagenet')
    assert cfg.custom_hooks == [other, dict(type='densecl.PretrainedHook', checkpoint='imagenet')]
    tower = dict(type='PretrainedHook', checkpoint='text.pth', part='heads.text.target.tower')
    cfg = Config(dict(custom_hooks=[tower, dict(type='PretrainedHook', checkpoint='a.pth')]))
    launch.use_pretrained(cfg, 'imagenet')
    assert cfg.custom_hooks == [tower, dict(type='densecl.PretrainedHook', checkpoint='imagenet')]


def test_config_options_and_work_dir(tmp_path):
    path = tmp_path / 'thing.py'
    path.write_text('model = dict(b=1)\n')
    cfg = launch.load_config(str(path), None, {'model.b': 2}, 'none')
    assert cfg.model.b == 2
    assert cfg.work_dir == 'work_dirs/thing'
    assert launch.load_config(str(path), 'elsewhere', None, 'none').work_dir == 'elsewhere'


@pytest.mark.parametrize(
    ('path', 'model'),
    [
        ('densecl::densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py', 'MomentumPretrainer'),
        ('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', 'MaskRCNN'),
    ],
)
def test_configs_of_installed_packages_are_reached(path, model):
    assert launch.read_config(path).model.type == model


def test_configs_inherit_across_packages(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = 'densecl::mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py'\nx = 1\n")
    assert launch.read_config(str(path)).model.momentum == 0.999


def test_a_ramp_that_nothing_makes_is_refused():
    rules = [dict(match='backbone', lr_ramp=(3, 2))]
    cfg = Config(dict(optim_wrapper=dict(paramwise_cfg=dict(rules=rules)), param_scheduler=[]))
    with pytest.raises(ValueError, match="lr_ramp needs a ParamSchedule of 'lr' in param_scheduler"):
        launch.check_ramps(cfg)
    cfg.param_scheduler = [dict(type='ParamSchedule', param_name='lr', factor=1.0)]
    launch.check_ramps(cfg)


def test_without_a_gpu_processes_share_what_mmengine_would_let_them_share(monkeypatch):
    monkeypatch.setattr(launch, 'join_group', lambda cfg: None)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg = Config(dict(launcher='pytorch', find_unused_parameters=True))
    launch.use_gloo_without_gpu(cfg)
    usual = dict(type='MMDistributedDataParallel', broadcast_buffers=False, find_unused_parameters=True)
    assert cfg.model_wrapper_cfg == dict(usual, device_ids=None)
    own = Config(dict(launcher='pytorch', model_wrapper_cfg=dict(type='Own', static_graph=True)))
    launch.use_gloo_without_gpu(own)
    assert own.model_wrapper_cfg == dict(type='Own', static_graph=True, device_ids=None)


@pytest.mark.parametrize('kind', ['PretrainDataset', 'densecl.PretrainDataset', 'TextDataset'])
def test_the_seed_of_a_run_is_that_of_its_views(kind):
    cfg = Config(dict(randomness=dict(seed=3), train_dataloader=dict(dataset=dict(type=kind))))
    launch.share_seed(cfg)
    assert cfg.train_dataloader.dataset.seed == 3
    cfg.randomness.seed = 4
    launch.share_seed(cfg)
    assert cfg.train_dataloader.dataset.seed == 3, 'its own'


def test_no_workers_is_enough_to_say(tiny_config):
    cfg = tiny_config(**{'train_dataloader.num_workers': 0})
    cfg.train_dataloader.update(persistent_workers=True, prefetch_factor=2)
    assert launch.build_runner(cfg).train_loop.dataloader.num_workers == 0


def test_custom_imports_may_lie_beside_the_config(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'path', sys.path[:])
    folder = tmp_path / 'own'
    folder.mkdir()
    (folder / 'beside_the_config.py').write_text('VALUE = 3\n')
    config = folder / 'mine.py'
    config.write_text("custom_imports = dict(imports=['beside_the_config'])\n")
    launch.read_config(str(config))
    assert sys.modules.pop('beside_the_config').VALUE == 3
    config.write_text("custom_imports = dict(imports=['nowhere_to_be_found'])\n")
    said = r"mine.py: custom_imports: No module named 'nowhere_to_be_found'; .* and on PYTHONPATH$"
    with pytest.raises(ConfigMistake, match=said):
        launch.read_config(str(config))


def test_two_trainings_do_not_share_a_folder(tmp_path):
    """A lock of another process; it ends with the process."""
    code = (
        'import sys; from densecl.engine.checks import claimed\n'
        f'with claimed({str(tmp_path)!r}): print("here", flush=True); sys.stdin.read()'
    )
    other = subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b'here\n'
    said = f'work_dir: in .* process {other.pid} on .* is training; wait'
    with pytest.raises(ConfigMistake, match=said), claimed(tmp_path):
        pass
    other.kill()
    other.wait()
    with claimed(tmp_path):
        assert (tmp_path / '.running').read_text().startswith(f'process {os.getpid()} on ')
    assert not list(tmp_path.iterdir())


def test_a_claim_inside_a_claim_does_not_end_it(tmp_path):
    code = f'from densecl.engine.checks import claimed\nwith claimed({str(tmp_path)!r}): pass'
    with claimed(tmp_path):
        with claimed(str(tmp_path)), claimed(tmp_path / '..' / tmp_path.name):
            pass
        other = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert f'process {os.getpid()} on' in other.stderr and not list(tmp_path.iterdir())


def test_a_claim_that_ends_while_another_one_is_made(tmp_path, monkeypatch):
    """The file was opened before its owner removed it: a lock on it would keep nobody out."""
    plain, removed = checks.fcntl.lockf, []

    def lockf(file, how):
        if not removed:
            removed.append(file)
            (tmp_path / '.running').unlink()
        plain(file, how)

    monkeypatch.setattr(checks.fcntl, 'lockf', lockf)
    with claimed(tmp_path):
        assert removed[0].closed and str(os.getpid()) in (tmp_path / '.running').read_text()


def test_only_queues_of_one_key_an_image_are_checked_against_the_data_set():
    """CrIBo's holds objects, of which an image has many."""

    def queues(name, head):
        cfg = Config.fromfile(CONFIGS / name).model.heads[head]
        head = MODELS.build(dict(cfg, type='densecl.Head'))
        return [(place, len(queue)) for place, queue, _ in checks._queues(head)]

    assert queues('cribo/cribo_efficientnet-lite0_1xb16-continue-4e_photos.py', 'objects') == []
    assert queues('mocov2/mocov2_resnet18_1xb64-coslr-6e_photos.py', 'image') == [('objective.queue', 1024)]
