"""``densecl plan CONFIG``."""

from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[2] / 'configs'
SMALL = CONFIGS / 'mocov2/mocov2_resnet18_1xb64-coslr-6e_photos.py'


def test_every_figure_says_where_it_is_from(densecl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = densecl('plan', SMALL, '--gpu', 't4', '--gpus', '2', '--images', '5000', '--amp', 'fp16')
    assert code == 0, err
    lines = {line[:30].split('  ')[0] or line.split('  ')[1]: line for line in out.splitlines()}
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
        ([SMALL, '--gpu', 'h900'], '--gpu: expected one of h200, h100'),
        (['no.py'], 'no.py: no such config file'),
        (['photos', '--gpu', 'h100'], '--gpu is of a config'),
        ([SMALL, '--size', '96'], '--size is of photos'),
        ([CONFIGS / '_base_/schedules/finetune_slim.py'], 'the config is no pretraining'),
    ],
)
def test_mistakes_end_in_a_line(densecl, arguments, message):
    code, _, err = densecl('plan', *arguments)
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1
