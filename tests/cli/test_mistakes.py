"""What users do wrong ends in one line that says what to do, and exit code 2."""

import os
import subprocess
import sys

import pytest

from densecl.runs import checks
from densecl.sample import sample_root


def refused(result: tuple[int, str, str], *parts: str) -> None:
    code, _, err = result
    assert code == 2, result
    assert len(err.strip().splitlines()) == 1, err
    assert 'Traceback' not in err
    for part in parts:
        assert part in err, (part, err)


def test_folder_is_missing_empty_or_has_no_images(densecl, tmp_path):
    refused(densecl('pretrain', tmp_path / 'none', '--out', tmp_path / 'run'), 'does not exist')
    (tmp_path / 'empty').mkdir()
    refused(
        densecl('pretrain', tmp_path / 'empty', '--out', tmp_path / 'run'), 'no image below', '.jpg', '.tiff'
    )
    (tmp_path / 'text').mkdir()
    (tmp_path / 'text' / 'a.txt').write_text('x')
    refused(densecl('plan', tmp_path / 'text'), 'other files: 1 .txt', 'looked for')


def test_a_file_or_an_archive_in_place_of_a_folder(densecl, tmp_path):
    for name, said in (('a.jpg', 'give a folder of photos'), ('a.tar', 'photos; unpack it first')):
        (tmp_path / name).touch()
        refused(densecl('plan', tmp_path / name), f'{name} is a file; ', said)


def test_too_few_photos(densecl, tmp_path, photos):
    for name in sorted(os.listdir(photos))[:3]:
        (tmp_path / name).write_bytes((photos / name).read_bytes())
    refused(densecl('plan', tmp_path), '3 photos', 'at least 8')


def test_a_run_that_was_refused_can_begin_again(densecl, tmp_path, photos):
    batch = 'train_dataloader.batch_size=4'
    wishes = ('--start', 'random', '--size', '32', '--estimate', '--cfg-options', batch)
    for _ in range(2):
        refused(densecl('pretrain', photos, '--out', tmp_path / 'run', *wishes), f'{batch} in 4 groups')


def test_options_that_cannot_be_planned_with(densecl, tmp_path, photos):
    plan = ('plan', photos, '--start', 'random', '--size', '32', '--estimate', '--cfg-options')
    refused(densecl(*plan, 'custom_hooks.5.type=X'), 'custom_hooks')
    for option in ('default_hooks.checkpoint=None', 'optim_wrapper.clip_grad=dict(max_norm=inf)'):
        assert densecl(*plan, option)[0] == 0, option


def test_there_is_a_run_already_or_none(densecl, tmp_path, photos):
    refused(densecl('pretrain', photos, '--out', tmp_path, '--resume'), 'there is no run', 'config.py')
    (tmp_path / 'config.py').write_text('')
    refused(densecl('pretrain', photos, '--out', tmp_path), 'holds a run already', '--resume')
    refused(densecl('export', tmp_path), 'has no checkpoint yet')


def test_a_run_that_begins_while_another_one_is_planned(densecl, tmp_path, photos):
    """The other one has the folder already and has not written its config yet."""
    code = (
        'import sys; from densecl.engine.checks import claimed\n'
        f'with claimed({str(tmp_path)!r}): print("here", flush=True); sys.stdin.read()'
    )
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with subprocess.Popen([sys.executable, '-c', code], **pipes) as other:  # it ends with its stdin
        assert other.stdout.readline() == b'here\n'
        wishes = ('--start', 'random', '--size', '32', '--estimate')
        result = densecl('pretrain', photos, '--out', tmp_path, *wishes)
        refused(result, f'process {other.pid} on', 'is training')
        assert [path.name for path in tmp_path.iterdir()] == ['.running']


def test_a_fine_tuning_is_not_written_over(densecl, tmp_path):
    (tmp_path / 'iter_10.pth').write_bytes(b'')
    command = ('finetune', 'imagenet', '--data', tmp_path / 'a.json', '--out', tmp_path)
    refused(densecl(*command), 'holds another run (iter_10.pth); give another --out')
    refused(densecl(*command, '--resume'), 'there is no fine-tuning in', 'no config.py')
    (tmp_path / 'config.py').write_text('lr = 0.5  # mine')
    refused(densecl(*command, '--write-only'), 'holds another run (config.py): --resume goes on with it')
    refused(densecl(*command, '--write-only', '--resume'), 'leave out one of them')
    refused(densecl(*command, '--resume', '--amp', 'bf16'), 'the precision stands in', 'leave out --amp')
    (tmp_path / 'manifest.json').touch()
    refused(densecl(*command, '--resume'), 'holds a pretraining')
    assert (tmp_path / 'config.py').read_text() == 'lr = 0.5  # mine'


def test_a_fine_tuning_that_was_refused_can_begin_again(densecl, tmp_path, monkeypatch):
    from densecl.finetune import speed

    def fails(*args):
        raise ValueError('no step can be timed')

    monkeypatch.setattr(speed, 'iters_in', fails)
    data = sample_root() / 'bccd' / 'instances_train.json'
    command = ('finetune', 'imagenet', '--data', data, '--size', 'slim', '--minutes', '1', '--out', tmp_path)
    for _ in range(2):
        refused(densecl(*command), 'no step can be timed')
    assert not (tmp_path / 'config.py').exists()


def test_files_that_are_not_of_a_run_stay(densecl, tmp_path, photos):
    for number, name in enumerate(('start.pth', 'best_dense.pth', 'iter_10.pth')):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_bytes(b'mine')
        command = ('pretrain', photos, '--start', 'random', '--estimate', '--size', '32', '--out', folder)
        refused(densecl(*command), f'not of a run of densecl pretrain ({name})', 'another --out')
        assert [path.read_bytes() for path in folder.iterdir()] == [b'mine']


def test_a_run_among_its_photos(densecl, photos):
    command = ('pretrain', photos, '--start', 'random', '--estimate', '--out', photos / 'run')
    refused(densecl(*command), 'lies in the folder of photos', 'an --out outside of it')
    assert not (photos / 'run').exists()


def test_out_is_a_file_or_not_writable(densecl, tmp_path, photos, monkeypatch):
    (tmp_path / 'file').write_text('')
    refused(densecl('pretrain', photos, '--out', tmp_path / 'file' / 'run'), 'a file is in the way')
    monkeypatch.setattr(os, 'access', lambda path, mode: False)  # root may write everywhere
    refused(densecl('pretrain', photos, '--out', tmp_path / 'locked'), 'no permission to write in')


def test_disk_is_nearly_full(densecl, tmp_path, photos, monkeypatch):
    monkeypatch.setattr(checks, 'free_bytes', lambda folder: 3 * 2**20)
    result = densecl('pretrain', photos, '--start', 'random', '--estimate', '--out', tmp_path / 'run')
    refused(result, 'MB of disk and 3 MB are free', 'another --out')
    assert not (tmp_path / 'run').exists()


def test_wrong_method_and_wrong_options(densecl, photos, tmp_path):
    refused(
        densecl('plan', photos, '--start', 'random', '--method', 'nonsense'), '--method nonsense', 'densecl'
    )
    refused(densecl('plan', photos, '--start', 'random', '--cfg-options', 'nonsense'), 'KEY=VALUE')
    code, _, err = densecl('plan', photos, '--hours', '0')
    assert code == 2 and 'must be above 0' in err


def test_logger_is_unknown_or_not_installed(densecl, photos, tmp_path, monkeypatch):
    out = ('--out', tmp_path / 'run')
    refused(densecl('pretrain', photos, *out, '--log-to', 'nonsense'), 'nonsense', 'tensorboard, wandb')
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    refused(densecl('pretrain', photos, *out, '--log-to', 'trackio'), 'pip install trackio')
    assert not (tmp_path / 'run').exists()


def test_export_of_nothing(densecl, tmp_path):
    refused(densecl('export', tmp_path / 'none.pth'), 'no such run or checkpoint')
    refused(densecl('export', tmp_path), 'is no run of densecl pretrain')
    (tmp_path / 'empty.pth').touch()
    refused(densecl('export', tmp_path / 'empty.pth'), 'densecl export:', 'is empty')


def test_debug_shows_where(densecl, tmp_path):
    from densecl.cli import main

    with pytest.raises(FileNotFoundError, match='does not exist'):
        main(['plan', str(tmp_path / 'none'), '--debug'])
