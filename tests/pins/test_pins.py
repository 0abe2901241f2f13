"""A rewrite changes no number: losses, gradients and memories of two training steps of a dozen methods.

``make.py`` next to this file says what is computed and how ``pins.json`` is written;
``python tests/pins/make.py --check`` compares all 46 configs.
"""

import json

import pytest

from tests.pins import make
from tests.pins.differences import CHANGES, differences

PINS = json.loads(make.PINS.read_text())
# Every kind of units, and the objectives that have a memory or several answers.
TESTED = (
    'clip', 'context', 'detco', 'detcon-b', 'dino_resnet18', 'npid', 'pirl', 'pixpro_resnet18_fpn', 'resim',
    'scrl', 'setsim', 'sincere', 'slotcon', 'soco_resnet18_fpn', 'swav_resnet18', 'vicregl',
)  # fmt: skip
PATHS = [path for path in make.PATHS if path.stem.startswith(tuple(f'{name}_' for name in TESTED))]


def test_all_configs_are_pinned():
    assert len(make.PATHS) == 46 and len(PATHS) == len(TESTED)
    assert set(PINS) == {path.stem for path in make.PATHS}


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_numbers_are_those_pinned(path):
    assert make.compared(path, PINS[path.stem]) == []


def test_every_change_is_of_something_pinned():
    for change in CHANGES:
        configs = [name for name in PINS if name.startswith(change.configs)]
        assert configs and change.why
        assert change.key == '*' or any(change.key in PINS[name] for name in configs), change


def test_a_difference_is_seen():
    pinned = {'log/loss_image': [2.0, 1.0], 'log/image_top1': [0.5, 0.25], 'state/weights': [0, 3.0]}
    assert differences('', pinned, pinned) == []
    for key, value in (('log/loss_image', 1 + 3e-9), ('log/image_top1', 0.25 + 1e-7), ('state/weights', 2)):
        assert len(differences('', pinned | {key: [pinned[key][0], value]}, pinned)) == 1
    assert len(differences('', {'log/loss_new': [1.0]}, {'log/loss_old': [1.0]})) == 2
    assert len(differences('', {'log/loss_image': [float('nan')]}, {'log/loss_image': [2.0]})) == 1
    assert len(differences('', pinned | {'state/new': [1.0], 'log/new': [1.0]}, pinned)) == 1
    contrast = {'log/slots_contrast': [2.0]}
    assert differences('slotcon', {'log/slots_contrast': [1.0]}, contrast) == []
    assert len(differences('slotcon', contrast, contrast)) == 1
