"""``densecl plan CONFIG``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'
SMALL = CONFIGS / 'mocov2/mocov2_resnet18_1xb64-coslr-6e_photos.py'


def test_every_figure_says_where_it_is_from(tmp_path):
    # In a process of its own: it starts autograd's threads, after which no fork of this process can train.
    options = ['--gpu', 't4', '--gpus', '2', '--images', '5000', '--amp', 'fp16']
    command = [sys.executable, '-m', 'densecl', 'plan', str(SMALL), *options]
    env = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = {line[:30].split('  ')[0] or line.split('  ')[1]: line for line in done.stdout.splitlines()}
    assert '2 GPUs x 64 photos, fp16' in lines['processes'] and lines['processes'].endswith('given')
    assert '11.5 M' in lines['parameters'] and lines['parameters'].endswith('counted')
    assert 't4, 14.7 GiB' in lines['largest batch'] and lines['largest batch'].endswith('predicted')
    assert lines['a photo'].endswith('measured')
    assert 'gradients 46' in lines['sent']  # 11.5 M of 4 bytes; of two ranks each sends half, twice
    assert '6 epochs of 5,000 images' in lines['time']
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ([SMALL, '--gpu', 'h900'], "--gpu must be 'h200', 'h100'"),
        (['no.py'], 'no.py: no such config file'),
        (['photos', '--gpu', 'h100'], '--gpu is of a config'),
        ([SMALL, '--cfg-options', 'train_datloader.batch_size=8'], 'did you mean train_dataloader?'),
        ([SMALL, '--size', '96'], '--size is of photos'),
        ([CONFIGS / '_base_/schedules/finetune_slim.py'], 'the config is no pretraining'),
    ],
)
def test_mistakes_end_in_a_line(densecl, arguments, message):
    code, _, err = densecl('plan', *arguments)
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1
