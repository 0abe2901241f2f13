"""The command on real photos, and what its pictures say."""

import cv2
import numpy as np
import pytest

from densecl import visualization as vis
from densecl.sample import sample_root
from densecl.tools import run_tool
from tests.visualization.test_browse_reconstructions import saved

RED, GREEN = (210, 50, 40), (40, 160, 60)
TILES = [np.full((8, 8, 3), 20 * i, np.uint8) for i in range(9)]


def answer_of(picture):
    """The right one of two tiles of 60 px, and its border's colour."""
    found = picture[:, -60:]
    return found, tuple(int(x) for x in found[0, 30])


def test_a_turn_is_undone_as_it_was_answered():
    upright = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    turned = np.ascontiguousarray(np.rot90(upright, 3))
    found, border = answer_of(vis.draw_turn(turned, 3, 3, 60))
    assert border == GREEN and np.array_equal(found[4:-4, 4:-4], upright[4:-4, 4:-4])
    found, border = answer_of(vis.draw_turn(turned, 3, 2, 60))
    assert border == RED and np.array_equal(found[30:-4, 4:-4], np.rot90(upright, 1)[30:-4, 4:-4])


def test_tiles_go_where_the_answer_puts_them():
    order = [4, 3, 5, 0, 1, 2, 8, 7, 6]
    right = vis.draw_puzzle([TILES[c] for c in order], order, order, 60)
    found, border = answer_of(right)
    middles = [found[10 + 20 * (c // 3), 10 + 20 * (c % 3), 0] for c in range(9)]
    assert border == GREEN and np.allclose(middles, [20 * c for c in range(9)], atol=1)
    _, border = answer_of(vis.draw_puzzle([TILES[c] for c in order], order, sorted(order), 60))
    assert border == RED


def test_the_second_patch_goes_where_the_answer_puts_it():
    first, second = TILES[3], TILES[9 - 1]
    found, border = answer_of(vis.draw_pair(first, second, (1, 0), (0, -1), 60))
    assert border == RED and abs(int(found[10, 30, 0]) - 160) <= 1 and abs(int(found[30, 30, 0]) - 60) <= 1
    assert found[30, 50, 0] > 200


@pytest.mark.parametrize(
    ('config', 'size'),
    [
        ('rotation/rotation_resnet18_1xb32-coslr-6e_photos.py', (250, 2 * 243 + 16)),
        ('jigsaw/jigsaw_resnet18_1xb16-coslr-8e_photos.py', (250, 2 * 243 + 16)),
        ('context/context_resnet18_1xb32-coslr-6e_photos.py', (250, 2 * 243 + 16)),
    ],
)
def test_the_command(config, size, tmp_path, capsys):
    out = tmp_path / 'a.png'
    photos = str(sample_root() / 'detection/val')
    command = [str(saved(config, tmp_path)), '--photos', photos, '--out', str(out)]
    run_tool('browse_answers', [*command, '--num', '4', '--columns', '2', '--asked', '5'])
    assert cv2.imread(str(out)).shape[:2] == size
    assert 'of 5 right' in capsys.readouterr().out


def test_a_method_that_asks_nothing_is_refused(tmp_path):
    checkpoint = saved('quickstart/densecl_resnet18_sample.py', tmp_path)
    with pytest.raises(SystemExit, match='no head with target=dict'):
        run_tool('browse_answers', [str(checkpoint), '--photos', str(sample_root() / 'detection/val')])
