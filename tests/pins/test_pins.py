"""A rewrite changes no number: losses, gradients and memories of two training steps of every method.

``make.py`` next to this file says what is computed and how ``pins.json`` is written.
"""

import importlib.util
import json
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location('pins_make', Path(__file__).with_name('make.py'))
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)
PINS = json.loads(make.PINS.read_text())

# Where the numbers may differ: config -> key -> what the key is called now, or None: it is not compared.
# Each entry says why in a comment.
ALLOWED: dict[str, dict[str, str | None]] = {}


def differences(config: str, found: dict, pinned: dict) -> list[str]:
    """What is not as pinned, a line each.

    Rounding is measured against the largest number of a key, the norm for one. Values of the log that are no
    losses may have been computed in float32.
    """
    allowed = ALLOWED.get(config, {})
    names = {key: allowed.get(key, key) for key in pinned}
    extra = found.keys() - set(names.values()) - allowed.keys()
    lines = [f'{key}: not pinned' for key in sorted(extra)]
    for key, name in names.items():
        if name is None:
            continue
        values, got = pinned[key], found.get(name, [])
        rounding = 1e-7 if key.startswith('log/') and 'loss' not in key else 1e-9
        room = rounding * max(map(abs, values))
        same = len(got) == len(values) and all(
            abs(a - b) <= room for a, b in zip(got, values, strict=True)
        )
        lines += [] if same else [f'{key}: {got}, pinned {values}']
    return lines


def test_all_configs_are_pinned():
    assert len(make.PATHS) == 36
    assert set(PINS) == {path.stem for path in make.PATHS}


@pytest.mark.parametrize('path', make.PATHS, ids=lambda path: path.stem)
def test_numbers_are_those_pinned(path):
    pinned = PINS[path.stem]
    names = [key.removeprefix('gradient/') for key in pinned if key.startswith('gradient/')]
    found = make.record(path, [name for name in names if name != 'all'])
    assert differences(path.stem, found, pinned) == []


def test_a_difference_is_seen():
    pinned = {'log/loss_image': [2.0, 1.0], 'log/image_top1': [0.5, 0.25], 'state/weights': [0, 3.0]}
    assert differences('', pinned, pinned) == []
    for key, value in (('log/loss_image', 1 + 3e-9), ('log/image_top1', 0.25 + 1e-7), ('state/weights', 2)):
        assert len(differences('', pinned | {key: [pinned[key][0], value]}, pinned)) == 1
    assert len(differences('', {'log/new': [1.0]}, {'log/old': [1.0]})) == 2
    assert len(differences('', {'log/loss_image': [float('nan')]}, {'log/loss_image': [2.0]})) == 1
