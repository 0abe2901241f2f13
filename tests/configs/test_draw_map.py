"""The picture of docs/map.md is what the configs say, and names every method."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools'))

import draw_map  # noqa: E402
import pytest  # noqa: E402


def test_the_picture_is_up_to_date():
    done = subprocess.run(
        [sys.executable, ROOT / 'tools/draw_map.py', '--check'], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_methods_stand_where_their_heads_are():
    found = {place: [name for name, _ in chips] for place, chips in draw_map.places().items()}
    assert 'MoCo v2' in found['image', 'its momentum copy']
    assert (
        'DenseCL' in found['image', 'its momentum copy'] and 'DenseCL' in found['cells', 'its momentum copy']
    )
    assert 'MAE' in found['hidden patches', 'pixels, visual words']
    assert {name for each in found.values() for name in each} == set(draw_map.METHODS)


def test_nothing_leaves_its_cell():
    texts = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="22"', draw_map.drawn())
    edges = [draw_map.LEFT + 320, draw_map.LEFT + 640, *(draw_map.LEFT + 640 + 200 * i for i in range(1, 9))]
    chips = [(float(x), float(x) + float(wide)) for x, wide in texts[len(draw_map.FAMILIES) :]]
    assert len(chips) > 40
    assert not [(a, b) for a, b in chips for edge in edges if a < edge < b]


def test_what_has_no_place_is_named():
    with pytest.raises(SystemExit, match='draw_map: units Voxels of NewMethod has no place on the map'):
        draw_map.named(draw_map.ROWS, 'Voxels', 'units', 'NewMethod')
