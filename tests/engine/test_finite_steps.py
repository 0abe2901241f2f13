"""Real NaNs in real runs: told of, left out everywhere, computed again from what was saved."""

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from densecl.compat import load_checkpoint
from densecl.engine import launch
from densecl.engine.hooks import finite
from densecl.engine.optim import autocast_dtype
from densecl.engine.replay import replay, sentences
from densecl.registry import HOOKS
from densecl.sample import sample_root
from densecl.tools import run_tool
from tests.engine.test_resume import assert_same
from tests.engine.test_resume_recipes import small


@HOOKS.register_module(force=True)
class OverflowAt(Hook):
    """Makes the loss of the dense head infinite in some iterations: its weight is beyond float32."""

    def __init__(self, iterations, value=float('inf')) -> None:
        self.iterations, self.value = iterations, value

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        head = runner.model.heads['dense']
        head.loss_weight = self.value if runner.iter in self.iterations else 0.5


@HOOKS.register_module(force=True)
class NeverSees(Hook):
    """The reference: some iterations do nothing, but time goes on."""

    def __init__(self, iterations) -> None:
        self.iterations = iterations

    def before_train(self, runner) -> None:
        model, step, wrapper = runner.model, runner.model.train_step, runner.optim_wrapper

        def train_step(data, optim_wrapper):
            wrapper.finite = torch.tensor(runner.iter not in self.iterations)
            if wrapper.finite:
                return step(data, optim_wrapper=optim_wrapper)
            wrapper._inner_count += 1
            return {}

        model.train_step = train_step


@HOOKS.register_module(force=True)
class BreakImages(Hook):
    """NaN in the images of some iterations, for all branches."""

    def __init__(self, iterations) -> None:
        self.iterations = iterations

    def before_train(self, runner) -> None:
        def spoil(_, given):
            return (given[0] * (torch.nan if runner.iter in self.iterations else 1.0),)

        for name in ('backbone', 'target_backbone'):
            if hasattr(runner.model, name):
                getattr(runner.model, name).register_forward_pre_hook(spoil)


@HOOKS.register_module(force=True)
class NeverAScale(Hook):
    """A loss scaler, and from iteration 3 on gradients that are NaN whatever its scale is."""

    def before_train(self, runner) -> None:
        wrapper = runner.optim_wrapper
        wrapper.loss_scaler, wrapper.cast_dtype = torch.amp.GradScaler('cpu'), torch.float16
        wrapper._scale_update_param = None
        backward = wrapper.backward
        wrapper.backward = lambda loss: backward(wrapper.loss_scaler.scale(loss))
        weight = next(runner.model.backbone.parameters())
        weight.register_hook(lambda gradient: gradient * (torch.nan if runner.iter >= 3 else 1.0))


class Warnings(logging.Handler):
    def __init__(self, runner) -> None:
        super().__init__(logging.WARNING)
        self.lines = []
        runner.logger.addHandler(self)

    def emit(self, record) -> None:
        self.lines.append(record.getMessage())


def trained(cfg):
    runner = launch.build_runner(cfg)
    said = Warnings(runner)
    runner.train()
    return runner, [line for line in said.lines if 'left out' in line]


def last(folder, iteration=10):
    found = load_checkpoint(folder / f'iter_{iteration}.pth')
    return {key: found[key] for key in ('state_dict', 'optimizer', 'param_schedulers')}


@pytest.mark.parametrize('kind', ['OptimWrapper', 'BF16OptimWrapper'])
def test_a_run_with_bad_steps_equals_one_that_never_saw_them(tiny_config, tmp_path, kind):
    options = {'optim_wrapper.type': kind, 'model.momentum': 0.9, 'default_hooks.checkpoint.interval': 10}
    cfg = tiny_config(**options, custom_hooks=[dict(type='OverflowAt', iterations=(3, 7))])
    runner, lines = trained(cfg)
    other = tiny_config(**options, custom_hooks=[dict(type='NeverSees', iterations=(3, 7))])
    other.default_hooks.pop('finite')
    other.work_dir = str(tmp_path / 'other')
    launch.build_runner(other).train()
    assert_same(last(tmp_path / 'run'), last(tmp_path / 'other'))
    assert [line.split(';')[0] for line in lines] == [
        f'iteration {number}: loss_dense is inf' for number in (4, 8)
    ]
    assert runner.message_hub.get_scalar('train/loss')._log_history.shape == (10,)


@pytest.mark.parametrize(
    ('method', 'name'), [('MAE', 'pixels'), pytest.param('DINOv2', 'tokens', marks=pytest.mark.slow)]
)
def test_a_masked_run_equals_one_that_never_saw_its_bad_images(method, name, tiny_config, tmp_path):
    """Hidden patches of the next steps are the same, and centres and targets have not moved."""
    cfg = small(method, tiny_config(), tmp_path)
    other = cfg.copy()
    cfg.custom_hooks = [dict(type='BreakImages', iterations=(1, 2))]
    _, lines = trained(cfg)
    other.update(work_dir=str(tmp_path / 'other'), custom_hooks=[dict(type='NeverSees', iterations=(1, 2))])
    other.default_hooks.pop('finite')
    launch.build_runner(other).train()
    assert_same(last(tmp_path / 'run', 4), last(tmp_path / 'other', 4))
    starts = [f'iteration {number}: loss_{name} is nan' for number in (2, 3)]
    assert len(lines) == 2 and all(map(str.startswith, lines, starts)), lines


def test_the_saved_step_is_computed_again(tiny_config, tmp_path):
    """The same losses to the last bit, of views that a seed makes; the weights are those before."""
    cfg = tiny_config(custom_hooks=[dict(type='OverflowAt', iterations=(6,))])
    seen = {}
    runner = launch.build_runner(cfg)
    runner.model.register_forward_hook(
        lambda *args: seen.update({runner.iter: {k: v.item() for k, v in args[-1].items()}})
    )
    runner.train()
    saved = tmp_path / 'run/nonfinite/iter_7.json'
    (part,) = json.loads(saved.read_text())['parts']
    assert len(part['paths']) == 2 and all(Path(path).is_file() for path in part['paths'])
    report = replay(saved)
    assert report['checkpoint'].name == 'iter_6.pth'
    assert {name: report['values'][name] for name in seen[6]} == seen[6]
    record = json.loads(saved.read_text())
    assert (saved.parent / record['weights']).is_file()
    (saved.parent / 'other.json').write_text('[]')
    for given, said in (
        (['other.json'], 'is no record of a step'),
        (['iter_7.json', '--rank', '1'], 'rank must be 0'),
    ):
        with pytest.raises(SystemExit, match=said):
            run_tool('replay_batch', [str(saved.parent / given[0]), *given[1:]])
    # A resumed run has weights of its own, beside those.
    cfg.custom_hooks = [dict(type='OverflowAt', iterations=(9,))]
    cfg.resume, cfg.load_from = True, str(tmp_path / 'run/iter_8.pth')
    launch.build_runner(cfg).train()
    later = json.loads((saved.parent / 'iter_10.json').read_text())['weights']
    assert later != record['weights'] and (saved.parent / record['weights']).is_file()


@pytest.mark.parametrize('options', [dict(), dict(dtype='bfloat16'), dict(dtype=torch.bfloat16)])
def test_a_replay_computes_in_the_type_of_the_run(options):
    wanted = torch.bfloat16 if options else torch.float16
    assert autocast_dtype(dict(type='AmpOptimWrapper', **options)) == wanted
    assert autocast_dtype(dict(type='densecl.BF16OptimWrapper')) == torch.bfloat16
    assert autocast_dtype(dict(type='OptimWrapper')) is None


def test_weights_that_one_process_holds_stop_all(monkeypatch):
    model = torch.nn.Linear(2, 2)
    assert finite._broken(model) is None
    monkeypatch.setattr(finite, 'world_size', lambda: 2)
    monkeypatch.setattr(finite, 'is_spread', lambda x: True)
    monkeypatch.setattr(finite.dist, 'all_gather_object', lambda names, own: names.__setitem__(1, 'weight'))
    assert finite._broken(model) == 'weight'


@pytest.mark.parametrize('kind', ['skip', 'stop'])
def test_a_broken_image_of_a_float_sensor(tiny_config, tmp_path, kind, capsys):
    folder = tmp_path / 'field'  # a NaN in a file is filled by the decoder; what overflows is not
    folder.mkdir()
    for number, path in enumerate(sorted((sample_root() / 'photos').rglob('*.jpg'))[:10]):
        image = cv2.resize(cv2.imread(str(path)), (80, 80)).astype(np.float32)
        np.save(
            folder / f'{number}.npy', image * np.float32(1e36 if number == 4 else 1)
        )  # NaN never gets here
    cfg = tiny_config(
        **{
            'train_dataloader.dataset.data_root': str(folder),
            'train_dataloader.dataset.decoder': dict(type='SensorDecoder', channels=3, dtype='float32'),
            'model.data_preprocessor': dict(
                type='PretrainDataPreprocessor', mean=(110.0,) * 3, std=(60.0,) * 3, low=(0.0,) * 3
            ),
            'default_hooks.finite.action': kind,
        }
    )  # fmt: skip
    view = dict(count=2, size=64, scale=(0.5, 1.0), flip=0.5)
    cfg.train_dataloader.dataset.pipeline = [dict(type='MultiView', views=[view])]
    if kind == 'stop':
        with pytest.raises(RuntimeError, match='loss_image is nan.*loss_dense is nan|loss_dense is nan'):
            launch.build_runner(cfg).train()
        return
    _, lines = trained(cfg)
    assert len(lines) == 2  # an epoch sees it once
    state = load_checkpoint(tmp_path / 'run/iter_10.pth')['state_dict']
    assert all(x.isfinite().all() for x in state.values())
    assert int(state['heads.dense.objective.queue.enqueued']) == 16  # 8 of 10 steps of 2
    step = next((tmp_path / 'run/nonfinite').glob('*.json'))
    run_tool('replay_batch', [str(step)])
    said = capsys.readouterr().out
    assert '4.npy: normalised values up to' in said and 'not finite: loss_dense is nan' in said
    assert 'first module whose output is not finite: backbone.' in said and ', from an input that is' in said


def test_a_step_of_sharded_weights_is_told_without_them(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(finite, 'is_spread', lambda x: True)
    monkeypatch.setattr(finite.dist, 'all_gather_object', lambda names, own: names.__setitem__(0, own))
    cfg = tiny_config()
    cfg.custom_hooks = [dict(type='OverflowAt', iterations=[3])]
    trained(cfg)
    (step,) = (tmp_path / 'run/nonfinite').glob('iter_*.json')
    assert json.loads(step.read_text())['weights'] is None and not list(step.parent.glob('*.pth'))


def test_weights_that_overflow_end_the_run_and_are_not_saved(tiny_config, tmp_path):
    cfg = tiny_config()
    cfg.optim_wrapper.optimizer.lr = 1e38
    with pytest.raises(RuntimeError, match='is NaN or infinite at iteration 1: no checkpoint was written'):
        launch.build_runner(cfg).train()
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_many_bad_steps_in_a_row_end_the_run(tiny_config):
    cfg = tiny_config(**{'default_hooks.finite.limit': 3})
    cfg.custom_hooks = [dict(type='OverflowAt', iterations=range(2, 10))]
    with pytest.raises(RuntimeError, match='iteration 5: .* 3 such steps in a row'):
        launch.build_runner(cfg).train()


def test_a_bad_batch_spoils_the_whole_accumulated_step(tiny_config):
    cfg = tiny_config(**{'optim_wrapper.accumulative_counts': 2, 'model.momentum': 0.9})
    cfg.custom_hooks = [dict(type='OverflowAt', iterations=(4,))]
    runner, lines = trained(cfg)
    assert len(lines) == 1 and lines[0].startswith('iteration 5: loss_dense is inf')
    assert int(runner.model.heads['dense'].objective.queue.enqueued) == 16 and runner.model.steps == 5


@pytest.mark.parametrize('bad', [0, 1])
def test_the_first_accumulated_step_is_left_out_whole(tiny_config, bad):
    cfg = tiny_config(**{'optim_wrapper.accumulative_counts': 2, 'train_cfg.max_epochs': 1})
    cfg.custom_hooks = [dict(type='BreakImages', iterations=(bad,))]
    runner, lines = trained(cfg)
    assert len(lines) == 1 and lines[0].startswith(f'iteration {bad + 1}: ')
    state = runner.model.state_dict()
    assert all(x.isfinite().all() for x in state.values())
    assert state['heads.dense.objective.queue.enqueued'] == 6  # of 5 batches of 2, without the first two
    assert {int(x) for name, x in state.items() if name.endswith('num_batches_tracked')} == {3}


def test_no_loss_scale_mends_a_gradient_of_nan(tiny_config, monkeypatch):
    """Overflow while float16's scale is searched is quiet; that no scale is found is not."""
    monkeypatch.setattr(finite, '_SEARCH', 7)
    cfg = tiny_config(custom_hooks=[dict(type='NeverAScale')], **{'default_hooks.finite.limit': 2})
    runner = launch.build_runner(cfg)
    said = Warnings(runner)
    with pytest.raises(RuntimeError, match='iteration 10: the loss is finite, but .* 7 such steps in a row'):
        runner.train()
    assert not any('left out' in line for line in said.lines)


def test_the_process_that_began_it_is_computed_again(tiny_config, tmp_path):
    """Averaged gradients are NaN in all processes; a record of two is replayed for the one with the loss."""
    cfg = tiny_config(custom_hooks=[dict(type='OverflowAt', iterations=(3,))])
    launch.build_runner(cfg).train()
    saved = tmp_path / 'run/nonfinite/iter_4.json'
    record = json.loads(saved.read_text())
    innocent = dict(record['parts'][0], nonfinite=['grad_norm'])
    record |= dict(processes=2, parts=[innocent, dict(record['parts'][0], rank=1)])
    saved.write_text(json.dumps(record))
    report = replay(saved)
    assert report['rank'] == 1
    assert sentences(report)[0].startswith('iteration 4, process 1 of 2, 2 images')
    assert 'not finite: loss_dense is inf' in sentences(report)


def test_the_first_batch_may_be_bad(tiny_config):
    runner, lines = trained(tiny_config(custom_hooks=[dict(type='OverflowAt', iterations=(0,))]))
    assert len(lines) == 1 and all(p.isfinite().all() for p in runner.model.parameters())
