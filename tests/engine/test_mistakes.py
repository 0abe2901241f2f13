"""What is wrong in a config is told in one line that names the place, before a step is made."""

import inspect
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from densecl import building
from densecl.building import ConfigMistake, check_arguments, one_line
from densecl.datasets.unreadable import UnreadableImageError
from densecl.engine import fields, launch
from densecl.engine.checks import problems
from densecl.engine.fields import FIELDS, check_fields, merge_options, near_setting
from densecl.engine.hooks import PretrainCheckpointHook
from densecl.engine.one_line import first_to_say, in_one_line
from densecl.engine.trial import try_out
from densecl.models.backbones.layers import patch_side
from densecl.sample import sample_root

ROOT = Path(__file__).parents[2]
DATA = 'train_dataloader.dataset'
SMALL = {
    f'{DATA}.data_root': str(sample_root() / 'photos'),
    f'{DATA}.max_images': 40,
    'train_dataloader.batch_size': 4,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'model.bn_groups': 1,
    'model.heads.image.objective.queue': 32,
    'model.heads.dense.objective.queue': 32,
    'log_level': 'ERROR',
}


#: Cells are matched by their place in the photo, and are patches of 16 px.
PLACED_PATCHES = {
    'model.backbone': dict(_delete_=True, type='TimmViT', arch='vit_tiny_patch16_224', depth=1),
    'model.heads.image.projector.channels': (192, 512, 128),
    'model.heads.dense.projector.channels': (192, 512, 128),
    'model.heads.dense.matching': dict(_delete_=True, type='ByLocation', threshold=0.7),
}


def config(folder: Path, **options) -> Config:
    path = 'configs/densecl/densecl_resnet18_1xb64-coslr-6e_photos.py'
    return launch.load_config(str(ROOT / path), str(folder), {**SMALL, **options}, 'none')


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """The warnings of a test."""
    lines = []
    for module in (building, fields):
        monkeypatch.setattr(module, 'warn', lines.append)
    return lines


@pytest.mark.parametrize(
    'options, line',
    [
        (
            {'model.heads.image.matchin': 'X'},
            'model.heads.image.matchin: Head does not take this; did you mean matching',
        ),
        (
            {'model.heads.image.matching': 'SameRw'},
            "model.heads.image.matching: there is no model 'SameRw'; did you mean SameRow",
        ),
        ({'model.heads.dense.objective.type': 'InfoNC'}, 'model.heads.dense.objective: there is no model'),
        (
            {'model.heads.dense.objective.type': 'Forgotten'},
            "model.heads.dense.objective: there is no model 'Forgotten'.* [(]a class of your own needs",
        ),
        ({'model.heads': dict(objective=dict(type='Cosine'))}, 'model.heads.objective: Cosine is no head'),
        (
            {'model.heads.dense.objective.qeue': 3},
            'model.heads.dense.objective.qeue: InfoNCE does not take this; did you mean queue',
        ),
        (
            {'model.heads.dense.projector.channels': 5},
            'model.heads.dense.projector.channels: ConvMLP takes Sequence',
        ),
        ({'model.heads.new.units': 'Cells'}, 'model.heads.new.objective is missing: Head needs it'),
        (
            {'model.hedas.image.units': 'Cells'},
            r'model.hedas: \w+ does not take this; did you mean heads',
        ),
        ({'model.backbone.depht': 3}, 'model.backbone.depht: ResNet does not take this; did you mean depth'),
        ({'model.backbone.out_indices': [7]}, 'model.backbone: AssertionError at "assert max'),
        ({'model.momentum': 0.001}, 'model.momentum is the share of the target that is kept'),
        ({'model.heads.global.units': 'Cells'}, 'model.heads.global: a name of Python itself'),
        ({'custom_hooks': [dict(type='GuardHok')]}, 'custom_hooks.0: there is no hook'),
        (
            {'default_hooks.checkpoint.intervl': 3},
            'default_hooks.checkpoint.intervl: nothing takes this',
        ),
        ({'train_dataloader.batch_size': 'x'}, "train_dataloader.batch_size: DataLoader takes .*, got 'x'"),
        ({'train_dataloader.batch_sise': 2}, 'train_dataloader.batch_sise: DataLoader does not take this'),
        ({'randomness.sed': 2}, 'randomness.sed: '),
        ({'visualizer.vis_backends.0.type': 'Wanbd'}, 'visualizer.vis_backends.0: there is no vis_backend'),
        ({'optim_wrapper.optimizer.type': 'SDG'}, "optim_wrapper.optimizer: there is no optimizer 'SDG'"),
        ({'optim_wrapper': 3}, 'optim_wrapper must be a dict, got 3'),
        ({'param_scheduler': 0.5}, 'param_scheduler must be a list of dicts, got 0.5'),
        ({'param_scheduler': [[]]}, r'param_scheduler.0 must be a dict, got \[\]'),
        ({'param_scheduler': [3]}, 'param_scheduler.0 must be a dict, got 3'),
        ({'randomness': dict(_delete_=True)}, 'randomness.seed is missing'),
        ({'env_cfg.mp_cfg.mp_start_method': 'forkk'}, 'env_cfg.mp_cfg.mp_start_method: processes takes'),
        ({'env_cfg.mp_cfg.opencv_num_threads': -1e30}, 'env_cfg.mp_cfg.opencv_num_threads must be a whole'),
        ({'env_cfg.mp_cfg': None}, 'env_cfg.mp_cfg must be a dict, got None'),
        ({'model': dict(_delete_=True)}, 'model.type is missing'),
        ({'model': None}, 'model must be a dict, got None'),
        ({'log_processor': 'x'}, "log_processor must be a dict, got 'x'"),
        (
            {'log_processor': dict(_delete_=True, windw_size=3)},
            'log_processor.windw_size: LogProcessor does not take this; did you mean window_size',
        ),
        ({'param_scheduler': [None]}, 'param_scheduler.0 must be a dict, got None'),
        ({'optim_wrapper.optimizer': None}, 'optim_wrapper.optimizer is missing'),
        ({'model.heads': 3}, r'model.heads: MomentumPretrainer takes dict\[str, dict\], got 3'),
        ({'param_scheduler': dict(_delete_=True, a=1)}, 'param_scheduler.type is missing'),
        ({'train_dataloader.dataset': True}, 'train_dataloader.dataset must be a dict, got True'),
        ({'train_dataloader.sampler': None}, 'train_dataloader.sampler must be a dict, got None'),
        ({'visualizer': [1]}, r'visualizer must be a dict, got \[1\]'),
        ({'visualizer': dict(_delete_=True, name='x')}, 'visualizer.type is missing'),
        ({'randomness.seed': -1}, r'randomness.seed must be from 0 to 2\*\*32 - 1, got -1'),
        ({'optim_wrapper.optimizer': dict(_delete_=True, lr=0.1)}, 'optim_wrapper.optimizer.type is missing'),
        ({'env_cfg.mp_cfg': dict(type='X')}, 'env_cfg.mp_cfg.type: env_cfg.mp_cfg is not built'),
        ({'default_scope': ''}, "default_scope must be the name of a package, got ''"),
        ({'train_cfg': dict(_delete_=True, max_epochs=2)}, 'train_cfg.type is missing: EpochBased'),
        (
            {'train_cfg': dict(_delete_=True, by_epoch=True, max_epoch=2)},
            'train_cfg.max_epoch: EpochBasedTrainLoop does not take this; did you mean max_epochs',
        ),
        ({'model_wrapper_cfg': dict(_delete_=True, tye='X')}, 'model_wrapper_cfg.type is missing'),
        ({'env_cfg.dist_cfg.tiemout': 600}, 'env_cfg.dist_cfg.tiemout: group does not take this; .* timeout'),
        ({'env_cfg.dist_cfg.timeout': 'x'}, 'env_cfg.dist_cfg.timeout: group takes'),
        ({'model_wrapper_cfg.type': 'MMDDP'}, 'model_wrapper_cfg: there is no model_wrapper'),
        ({'randomness': None}, 'randomness must be a dict, got None'),
        ({'optim_wrapper.optimizer': 3}, 'optim_wrapper.optimizer must be a dict, got 3'),
        (
            {'optim_wrapper': dict(_delete_=True, type='OptimWrapper', opt=3)},
            'optim_wrapper.optimizer is miss',
        ),
        ({'param_scheduler': [dict(typ='ParamSchedule')]}, 'param_scheduler.0.type is missing'),
        ({'default_hooks.spikes': dict(_delete_=True)}, 'default_hooks.spikes.type is missing'),
        ({'sync_bn': 'trch'}, "sync_bn must be 'torch', 'mmcv' or None"),
        ({'train_dataloader.num_workers': -1}, 'train_dataloader.num_workers must not be negative'),
        ({'default_hooks.checkpoint.max_keep_ckpts': 1e30}, 'default_hooks.checkpoint.max_keep_ckpts must'),
    ],
)
def test_parts_that_are_built_at_once(options, line, tmp_path):
    with pytest.raises(Exception) as error:
        launch.build_runner(config(tmp_path, **options))
    assert re.match(line, one_line(error.value)), one_line(error.value)
    assert '\n' not in one_line(error.value)


@pytest.mark.parametrize(
    'options, line',
    [
        ({'trian_cfg.max_epochs': 3}, 'there is no setting trian_cfg; did you mean train_cfg.*allow=names'),
        (
            {'model.heads.dense.units.level': 3},
            r"units is 'Cells', which has no level; .*dict\(type='Cells', level=",
        ),
        ({'param_scheduler.4.T_max': 3}, 'param_scheduler has entries 0 to 0, there is no 4'),
    ],
)
def test_options_that_change_nothing(options, line, tmp_path):
    with pytest.raises(ConfigMistake, match=line):
        config(tmp_path, **options)


def test_a_variable_that_nobody_reads_any_more(tmp_path):
    cfg = config(tmp_path, **{'train_cfg.max_epochs': 7})
    cfg.epochs = 7
    with pytest.raises(ConfigMistake, match='epochs is a variable .* give train_cfg.max_epochs'):
        merge_options(cfg, {'epochs': 3})


def test_a_misspelt_name_in_a_config_file(tmp_path):
    cfg = config(tmp_path)
    cfg.trian_cfg = cfg.pop('train_cfg')
    with pytest.raises(ConfigMistake, match='trian_cfg: nobody reads this; did you mean train_cfg.*allow=na'):
        check_fields(cfg)
    cfg.allow = 'names'
    check_fields(cfg)
    cfg.env_cxg = cfg.pop('env_cfg')
    cfg.pop('allow')
    with pytest.raises(ConfigMistake, match='(trian|env)_c[fx]g: nobody reads this'):
        check_fields(cfg)


@pytest.mark.parametrize(
    'path, line',
    [
        ('model', 'model is missing: '),
        ('train_dataloader.batch_size', 'train_dataloader.batch_size is missing: images'),
        ('train_dataloader.sampler', 'train_dataloader.sampler is missing: '),
    ],
)
def test_a_setting_that_is_missing(path, line, tmp_path):
    cfg = config(tmp_path)
    *parents, last = path.split('.')
    node = cfg
    for name in parents:
        node = node[name]
    taken = node.pop(last)
    with pytest.raises(ConfigMistake, match=line):
        check_fields(cfg)
    if path == 'model':
        cfg.omdel = taken
        with pytest.raises(ConfigMistake, match='omdel: nobody reads this; did you mean model'):
            check_fields(cfg)


def test_names_of_ones_own_near_settings_that_are_there(tmp_path, said):
    cfg = config(tmp_path)
    cfg.update(train_dataloader_a=dict(batch_size=3), optim_wrapper_b=dict(), models=['m'])
    check_fields(cfg)
    assert 'models: nobody reads this; did you mean model?' in said


@pytest.mark.parametrize('package', ['mmdet', 'mmseg'])
def test_shipped_configs_have_no_misspelt_names(package):
    """Those are read whose text has a name near a setting: to read all of them takes a minute."""
    configs = Path(pytest.importorskip(package).__file__).parent / '.mim' / 'configs'
    files = [file for file in configs.rglob('*.py') if '_base_' not in file.parts]
    assert len(files) > 100
    for file in files:
        names = set(re.findall(r'^(\w+) = ', file.read_text(), re.M)) - FIELDS
        if any(map(near_setting, names)):
            check_fields(Config.fromfile(file))


def test_shipped_configs_are_read(said):
    """One of each method; optimisers are looked up in the scope of the run, which has not begun."""
    methods = sorted(p for p in (ROOT / 'configs').glob('[!_]*') if list(p.glob('*_*.py')))
    for method in methods:
        check_fields(Config.fromfile(sorted(method.glob('*_*.py'))[0]))
    assert len(methods) > 40 and not said


def test_all_settings_that_the_runner_reads_are_known():
    read = set(re.findall(r"(?<!\w)cfg\.get\(\s*'(\w+)'", inspect.getsource(Runner)))
    assert {'compile', 'sync_bn', 'train_cfg'} < read <= FIELDS


def test_a_hook_beside_one_of_nearly_that_name(tmp_path, said):
    """mmengine adds what ``default_hooks`` does not name: two of these would step each schedule twice."""
    check_fields(config(tmp_path, **{'default_hooks.param_schedluer.type': 'ParamSchedulerHook'}))
    assert 'default_hooks.param_schedluer runs beside default_hooks.param_scheduler' in said[0]


def test_a_slip_in_what_only_several_processes_read(tmp_path, said):
    wrapper = dict(type='MMDistributedDataParallel', brodcast_buffers=False)
    try:
        check_fields(config(tmp_path, model_wrapper_cfg=dict(wrapper, _delete_=True)))
    except ConfigMistake as error:
        said.append(str(error))
    assert said[0].startswith('model_wrapper_cfg.brodcast_buffers: ') and 'broadcast_buffers' in said[0]


def test_options_that_are_free():
    keys = dict(layer1=dict(lr_mult=0.1))
    cfg = Config(
        dict(
            model=dict(type='M', heads=dict(dense=dict(type='Head'))),
            train_dataloader=dict(batch_size=2),
            optim_wrapper=dict(paramwise_cfg=dict(custom_keys=keys)),
            default_hooks=dict(timer=dict(type='IterTimerHook')),
        )
    )
    free = {
        'compile': True,
        'activation_checkpointing': ['backbone'],
        'efficient_conv_bn_eval': ['backbone'],
        'optim_wrapper.paramwise_cfg.custom_keys.layer2.lr_mult': 0.2,
        'val_dataloader.batch_size': 3,
        'model.heads.dense2.type': 'Head',
        'default_hooks.timer2.type': 'IterTimerHook',
    }
    merge_options(cfg, free)
    assert cfg.model.heads.dense2.type == 'Head' and cfg.val_dataloader.batch_size == 3
    with pytest.raises(ConfigMistake, match='no setting mine.*allow=names'):
        merge_options(cfg, {'mine': 3})
    merge_options(cfg, {'mine': 3, 'allow': 'names'})
    merge_options(Config(dict(custom_imports=dict(imports=['mine']))), {'mine.rate': 3})
    assert cfg.mine == 3


def test_options_are_merged_at_once(tmp_path):
    options = [('type', 'ViT'), ('arch', 's'), ('_delete_', True)]
    for order in itertools.permutations(options):
        cfg = Config(dict(model=dict(backbone=dict(type='ResNet', depth=50))))
        merge_options(cfg, {f'model.backbone.{name}': value for name, value in order})
        assert cfg.model.backbone == dict(type='ViT', arch='s')
    units = 'model.heads.dense.units'
    wanted = {f'{units}.type': 'Cells', f'{units}.level': 2, f'{units}._delete_': True}
    assert config(tmp_path, **wanted).model.heads.dense.units == dict(type='Cells', level=2)


class Open:
    def __init__(self, sizes: int = 3, momentum: float = 0.1, **options) -> None:
        self.options = dict(options)


def test_classes_that_take_any_name_only_warn(said):
    check_arguments(Open, dict(size=2, momentum2=0.1), ('model',))
    assert 'model.size: Open does not name this; is sizes' in said[0]


def test_a_package_that_the_modules_of_a_registry_lack_is_named(tmp_path, monkeypatch):
    (tmp_path / 'parts_of_mine.py').write_text('import no_such_package\n')
    monkeypatch.syspath_prepend(tmp_path)
    parts = Registry('part', locations=['parts_of_mine'])
    line = "part 'Wheel' cannot be looked up: No module named 'no_such_package'"
    with pytest.raises(ConfigMistake, match=line):
        parts.build(dict(type='Wheel'))


def test_hints_of_others_refuse_nothing():
    check_arguments(CheckpointHook, dict(interval=1.5), ('hook',))
    check_arguments(PretrainCheckpointHook, dict(interval=1.5), ('hook',))


@pytest.mark.parametrize(
    'options, place, words',
    [
        ({'train_cfg.max_iters': 4}, 'train_cfg.max_iters', 'PretrainLoop does not take this'),
        ({'optim_wrapper.optimizer.lrr': 1}, 'optim_wrapper.optimizer.lrr', 'did you mean lr'),
        ({'param_scheduler.0.facotr': 1}, 'param_scheduler.0.facotr', 'did you mean factor'),
        ({'param_scheduler.0.param_name': []}, 'param_scheduler.0.param_name', 'ParamSchedule takes str'),
        ({'train_dataloader.sampler.shufle': 1}, 'train_dataloader.sampler.shufle', 'did you mean shuffle'),
        ({f'{DATA}.pipeline.0.views.0.photometric': 0.5}, f'{DATA}.pipeline.0.views.0', 'must be a dict or'),
        (
            {f'{DATA}.pipeline.0.views.0.photometric.blur_sigma': [0.1, 1e30]},
            f'{DATA}.pipeline.0.views.0',
            'photometric.blur_sigma must be (low, high) with 0 < low <= high <= 1000',
        ),
        ({f'{DATA}.pipeline': []}, f'{DATA}.pipeline', 'its last transform must make views'),
        ({f'{DATA}.data_root': '/none'}, f'{DATA}.source', 'does not exist'),
        ({f'{DATA}.pipeline.0.views.0.flipp': 1}, f'{DATA}.pipeline.0.views.0.flipp', 'did you mean flip'),
        (
            {'model.heads.dense.objective.queue': 64},
            'model.heads.dense.objective.queue',
            '64 keys are more than the 40',
        ),
        (
            {'model.heads.dense.objective.queue': 2},
            'model.heads.dense.objective.queue',
            'do not hold those of one step',
        ),
        (
            {'optim_wrapper.accumulative_counts': 8, 'model.heads.image.objective.queue': 31},
            'model.heads.image.objective.queue',
            '31 keys do not hold those of one step of 32 images',
        ),
        (
            {'model.heads.dense.pairs': [[0, 1], [1, 0]], 'model.heads.dense.objective.queue': 7},
            'model.heads.dense.objective.queue',
            '7 keys do not hold those of one step of 4 images in 2 views',
        ),
        ({'train_dataloader.batch_size': 1}, 'train_dataloader.batch_size', 'of a single image'),
        (
            {'model.heads.dense.pairs': [[0, 2]]},
            'model.heads.dense',
            'pairs need 3 views, the pipeline makes 2',
        ),
        (
            {'model.heads.dense.units': dict(_delete_=True, type='Cells', level=4)},
            'model.heads.dense',
            'a level that the backbone does not return',
        ),
        (
            {**PLACED_PATCHES, f'{DATA}.pipeline.0.views.0.size': 100},
            'model.heads.dense',
            'such as 112',
        ),
        ({'allow': 'queu'}, 'allow', 'did you mean queue'),
    ],
)
def test_parts_that_do_not_go_together(options, place, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as left, in_one_line('train.py') as progress:
        launch.train(config(tmp_path, **options), progress)
    lines = capsys.readouterr().err.strip().splitlines()
    assert left.value.code == 2
    said = [line for line in lines if line.startswith('train.py: ')]
    assert len(said) == 1 and said[0].startswith(f'train.py: {place}') and words in said[0], lines
    assert 'Traceback' not in ''.join(lines)


@pytest.mark.parametrize('side, matching', [(112, 'ByLocation'), (100, 'MostSimilar')])
def test_views_that_patches_fill_or_whose_places_nobody_asks_for(side, matching, tmp_path):
    changed = {'model.heads.dense.matching': dict(_delete_=True, type=matching)}
    changed[f'{DATA}.pipeline.0.views.0.size'] = side
    runner = launch.build_runner(config(tmp_path, **{**PLACED_PATCHES, **changed}))
    assert list(problems(runner)) == [] and runner.model.training
    assert patch_side(runner.model.backbone, -1) == 16


def test_weights_of_other_images_and_a_folder_with_another_run(tmp_path, capsys):
    cfg = config(tmp_path)
    runner = launch.build_runner(cfg)
    weights = {f'backbone.{k}': v for k, v in runner.model.backbone.state_dict().items()}
    images = 'data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])'
    meta = dict(cfg=f'model = dict(heads=dict(a=dict()), {images})')
    torch.save(dict(state_dict=weights, meta=meta), tmp_path / 'other.pth')
    cfg = config(tmp_path / 'run')
    launch.use_pretrained(cfg, str(tmp_path / 'other.pth'))
    with pytest.raises(ConfigMistake, match='mean: trained with .* set model.data_preprocessor.mean'):
        launch.train(cfg)
    (tmp_path / 'old').mkdir()
    (tmp_path / 'old' / 'epoch_2.pth').write_bytes(b'')
    (tmp_path / 'old' / 'last_checkpoint').write_text(str(tmp_path / 'old' / 'epoch_2.pth'))
    with pytest.raises(ConfigMistake, match='holds another run .*--resume goes on with it'):
        launch.train(config(tmp_path / 'old'))


class Lost(Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise UnreadableImageError('a.jpg: is gone', 'missing')


def test_errors_of_the_code_keep_their_traceback(tmp_path, monkeypatch, capsys):
    runner = type('Runner', (), dict(began=True, _train_loop=type('Loop', (), dict(iter=3))))
    with pytest.raises(RuntimeError, match='a bug'), in_one_line('train.py') as progress:
        progress.runner = runner
        raise RuntimeError('a bug')
    with pytest.raises(TypeError, match='a bug'), in_one_line('zero_shot.py', kinds=(ValueError,)):
        raise TypeError('a bug')
    with pytest.raises(SystemExit), in_one_line('train.py') as progress:
        progress.runner = runner
        next(iter(DataLoader(Lost(), num_workers=1)))  # what a worker raises comes with its traceback
    assert capsys.readouterr().err == 'train.py: a.jpg: is gone\n'
    monkeypatch.setenv('DENSECL_DEBUG', '1')
    with pytest.raises(ConfigMistake), in_one_line('train.py'):
        raise ConfigMistake('x')


def test_check_tries_everything_and_writes_nothing(tmp_path):
    lines = []
    assert try_out(config(tmp_path / 'run'), lines.append), lines
    parts = 'folder settings loggers model data optimiser weights samples views queue batch sides images step'
    assert [line.split()[1] for line in lines[:-1]] == parts.split()
    assert not (tmp_path / 'run').exists()
    lines.clear()
    wrong = {
        'model.heads.dense.objective.queue': 64,
        'model.heads.dense.units': dict(_delete_=True, type='Cells', level=4),
    }
    assert not try_out(config(tmp_path / 'run', **wrong), lines.append)
    told = [line for line in lines if line.startswith('WRONG')]
    assert [line.split()[1] for line in told] == ['queue', 'step'], lines
    lines.clear()
    meant = {'model.heads.dense.objective.queue': 64, 'allow': 'queue'}
    assert try_out(config(tmp_path / 'run', **meant), lines.append)
    (said,) = (line for line in lines if line.split()[1] == 'queue')
    assert said.startswith('ok    queue') and '64 keys are more than' in said and said.endswith('(allowed)')
    lines.clear()
    assert not try_out(config(tmp_path / 'run', **{'visualizer.vis_backends': 0.5}), lines.append)
    assert 'WRONG loggers    visualizer.vis_backends must be a list of dicts, got 0.5' in lines


def test_processes_say_it_once(tmp_path):
    """Two processes of one job find the same mistake."""
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--master_port=29713']
    code = (
        'from densecl.building import ConfigMistake\n'
        'from densecl.engine.one_line import in_one_line\n'
        "with in_one_line('train.py'):\n    raise ConfigMistake('model.x: wrong')\n"
    )
    (tmp_path / 'say.py').write_text(code)
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        [*command, tmp_path / 'say.py'], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode != 0
    assert done.stderr.count('train.py: model.x: wrong') == 1, done.stderr


def test_slurm_tells_tasks_apart_before_mmengine_does(monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'TORCHELASTIC_USE_AGENT_STORE'):
        monkeypatch.delenv(name, raising=False)
    assert first_to_say('x')
    monkeypatch.setenv('SLURM_PROCID', '3')
    assert not first_to_say('x')


def test_files_that_a_config_runs_are_told(tmp_path):
    (tmp_path / 'base.py').write_text('a = 1')
    (tmp_path / 'broken.py').write_text("_base_ = 'c.json'\nraise ValueError")
    (tmp_path / 'c.json').write_text('{"_base_": "base.py"}')
    told = []
    with launch.telling_files(told.append):
        launch.read_config(str(tmp_path / 'c.json'))
    with pytest.raises(ValueError), launch.telling_files(told.append):
        launch.read_config(str(tmp_path / 'broken.py'))
    assert [re.findall(r'\w+\.(?:py|json)', line) for line in told] == [['base.py'], ['broken.py', 'base.py']]
    Config.fromfile(tmp_path / 'base.py')
    assert len(told) == 2
