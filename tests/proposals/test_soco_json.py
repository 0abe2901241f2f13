"""SoCo's json, in its own counting of pixels."""

import json

import numpy as np
import pytest

from densecl.proposals import MissingProposalsError, SocoJson, write_soco
from densecl.structures import Proposals

IMAGE = np.zeros((50, 70, 3), np.uint8)


def soco_rect(mask):
    """A region as SoCo's search describes it: the first pixel, and the way to the last one."""
    y, x = np.nonzero(mask)
    return [int(x.min()), int(y.min()), int(x.max() - x.min()), int(y.max() - y.min())]


def test_boxes_end_behind_their_last_pixel(tmp_path):
    mask = np.zeros((50, 70), bool)
    mask[10:30, 5:65] = True
    content = {'n01_7': [soco_rect(mask), soco_rect(np.ones((50, 70)))], 'n01_8': []}
    (tmp_path / 'a.json').write_text(json.dumps(content))
    provider = SocoJson(tmp_path / 'a.json')
    found = provider(IMAGE, 'n01/n01_7.JPEG')
    assert found.boxes.tolist() == [[5, 10, 65, 30], [0, 0, 70, 50]] and found.size == (50, 70)
    assert len(provider(IMAGE, 'x.tar/n01_8.jpg')) == 0 and len(provider) == 2
    write_soco({f'n01/{n}.JPEG': provider(IMAGE, n) for n in content}, tmp_path / 'b.json')
    assert json.loads((tmp_path / 'b.json').read_text()) == content


def test_errors(tmp_path):
    (tmp_path / 'a.json').write_text('{"x": [[1, 2, 3, 4]]}')
    with pytest.raises(MissingProposalsError, match="'y.jpg' is not among the 1 images.*'x'"):
        SocoJson(tmp_path / 'a.json')(IMAGE, 'y.jpg')
    for text, message in (('[1]', 'must hold a dict'), ('{"x": [[1, 2]]}', "'x' must be a list of"),
                          ('{"x": ', 'is not json')):  # fmt: skip
        (tmp_path / 'b.json').write_text(text)
        with pytest.raises(ValueError, match=message):
            SocoJson(tmp_path / 'b.json')
    same = {'a/1.jpg': Proposals([], (5, 5)), 'b/1.png': Proposals([], (5, 5))}
    with pytest.raises(ValueError, match="'a/1.jpg' and 'b/1.png' are the same there"):
        write_soco(same, tmp_path / 'c.json')
    assert not (tmp_path / 'c.json').exists()
