"""Checkpoints: mmengine's load and resume, files that could run code do not."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner
from torch import nn

from densecl.compat import load_checkpoint


class Line(BaseModel):
    """Smallest model a runner trains."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, inputs, data_samples=None, mode='loss'):
        return {'loss': self.layer(torch.stack(inputs)).square().mean()}


def runner(folder, epochs, resume=False):
    data = [{'inputs': torch.full((2,), float(i))} for i in range(8)]
    return Runner(
        model=Line(),
        work_dir=str(folder),
        train_dataloader=dict(dataset=data, batch_size=2, sampler=dict(type='DefaultSampler', shuffle=False)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3)),
        param_scheduler=[dict(type='CosineAnnealingLR')],
        resume=resume,
        log_level='ERROR',
        experiment_name=f'{folder.name}_{epochs}_{resume}',
    )


def test_a_real_checkpoint_loads_and_resumes(tmp_path):
    runner(tmp_path, epochs=2).train()
    file = tmp_path / 'epoch_2.pth'
    checkpoint = load_checkpoint(file)
    losses = checkpoint['message_hub']['log_scalars']['train/loss']
    assert isinstance(losses, HistoryBuffer)
    history, counts = losses.data
    assert len(history) == len(counts) == 8 and np.isfinite(history).all()
    assert losses.statistics('mean') == pytest.approx(history.mean())
    resumed = runner(tmp_path, epochs=3, resume=True)
    resumed.train()
    assert resumed.epoch == 3 and resumed.iter == 12
    assert len(MessageHub.get_instance(resumed.experiment_name).log_scalars['train/loss'].data[0])


def test_numpy_arrays_and_scalars_load_under_both_names(tmp_path):
    content = {
        'array': np.arange(3.0), 'ints': np.arange(3), 'scalar': np.float64(0.5),
        'flags': np.array([True]), 'single': np.float32(2),
    }  # fmt: skip
    new, old = tmp_path / 'new.pth', tmp_path / 'old.pth'
    torch.save(content, new, _use_new_zipfile_serialization=False)
    # numpy renamed its module in version 2; the name's length does not matter to a pickle.
    raw = new.read_bytes()
    if b'numpy._core' in raw:
        old.write_bytes(raw.replace(b'numpy._core', b'numpy.core'))
    else:
        old.write_bytes(raw.replace(b'numpy.core', b'numpy._core'))
    for file in (new, old):
        loaded = load_checkpoint(file)
        np.testing.assert_array_equal(loaded['array'], content['array'])
        np.testing.assert_array_equal(loaded['ints'], content['ints'])
        np.testing.assert_array_equal(loaded['flags'], content['flags'])
        assert loaded['scalar'] == 0.5 and loaded['single'] == 2


class Command:
    """Pickles as a call of os.system."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Fetch:
    """Pickles as getattr(owner, name), by which code could reach anything."""

    def __init__(self, owner, name):
        self.arguments = owner, name

    def __reduce__(self):
        return getattr, self.arguments


def test_a_malicious_file_is_refused_and_not_run(tmp_path):
    file, trace = tmp_path / 'bad.pth', tmp_path / 'ran'
    torch.save({'state_dict': Command(f'touch {trace}')}, file)
    with pytest.raises(pickle.UnpicklingError) as caught:
        load_checkpoint(file)
    assert str(file) in str(caught.value) and 'system' in str(caught.value)
    with pytest.raises(pickle.UnpicklingError, match='system'):
        CheckpointLoader.load_checkpoint(str(file))
    assert not trace.exists()


@pytest.mark.parametrize(
    'owner, name', [(HistoryBuffer, '__init__'), (np.ndarray, '__reduce__'), (dict, 'get')]
)
def test_getattr_reaches_nothing_but_statistics(tmp_path, owner, name):
    file = tmp_path / 'bad.pth'
    torch.save({'a': Fetch(owner, name)}, file)
    with pytest.raises(pickle.UnpicklingError, match='refused'):
        load_checkpoint(file)
    with pytest.raises(pickle.UnpicklingError, match='Unsupported global'):
        CheckpointLoader.load_checkpoint(str(file))


def test_an_unknown_class_is_named(tmp_path):
    from mmengine.config import ConfigDict

    torch.save({'cfg': ConfigDict(a=1)}, tmp_path / 'cfg.pth')
    with pytest.raises(pickle.UnpicklingError, match='mmengine.config.config.ConfigDict'):
        load_checkpoint(tmp_path / 'cfg.pth')


@pytest.mark.parametrize('zipped', [True, False])
def test_a_truncated_file_is_named(tmp_path, zipped):
    file = tmp_path / 'cut.pth'
    torch.save({'a': torch.zeros(1000)}, file, _use_new_zipfile_serialization=zipped)
    file.write_bytes(file.read_bytes()[:-900])
    with pytest.raises(ValueError, match='cut.pth .* is cut off'):
        load_checkpoint(file)


@pytest.mark.parametrize('content', [b'', b'hello', b'\x89PNG\r\n\x1a\n' + bytes(99)])
def test_something_else_is_named(tmp_path, content):
    file = tmp_path / 'other.pth'
    file.write_bytes(content)
    with pytest.raises(ValueError, match='other.pth .* was not written by torch.save'):
        load_checkpoint(file)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.pth does not exist'):
        load_checkpoint(tmp_path / 'none.pth')
    with pytest.raises(FileNotFoundError, match='is a folder'):
        load_checkpoint(tmp_path)


def test_without_the_mend_torch_refuses(tmp_path):
    file = tmp_path / 'history.pth'
    torch.save({'history': HistoryBuffer([1.0], [1])}, file)
    code = f'import torch; torch.load({str(file)!r}, weights_only=True)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode != 0 and 'HistoryBuffer' in done.stderr
    assert load_checkpoint(file)['history'].mean() == 1.0


class Flagged:
    """A dtype whose flags say that its numbers are pointers."""

    def __reduce__(self):
        return np.dtype, ('f8', False, True), (3, '<', None, None, None, -1, -1, 65535)


class Pointers:
    def __reduce__(self):
        rebuild = np.zeros(3).__reduce__()
        return rebuild[0], rebuild[1], (1, (5,), Flagged(), False, b'\x41' * 40)


@pytest.mark.parametrize('zipped', [True, False])
def test_flags_of_a_dtype_are_not_taken_at_their_word(tmp_path, zipped):
    torch.save({'a': Pointers()}, tmp_path / 'a.pth', _use_new_zipfile_serialization=zipped)
    loaded = load_checkpoint(tmp_path / 'a.pth')['a']
    assert loaded.dtype == np.dtype('f8') and (loaded == np.frombuffer(b'\x41' * 8)).all()
    torch.save({'a': loaded}, tmp_path / 'b.pth')  # and is saved as numpy's own
    assert torch.load(tmp_path / 'b.pth', weights_only=False)['a'].__class__ is np.ndarray
