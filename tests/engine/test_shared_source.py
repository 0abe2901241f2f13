"""Three gloo processes: one lists the images, all train on them, and all end with one line."""

import re
from pathlib import Path

import numpy as np
import pytest

from densecl.datasets.sources import Source
from densecl.engine.shared_source import LOOKED_FOR, stamps, with_shared_source

SCRIPT = Path(__file__).with_name('listed_once.py')


@pytest.fixture(scope='module')
def found(over_processes):
    return over_processes(SCRIPT, 3)


def test_one_process_lists_and_all_see_the_same(found):
    # The folder and three below it; in process 0 once more for an evaluation of its own.
    assert [each['train']['listed'] for each in found] == [8, 0, 0]
    assert [each['train']['photos'] for each in found] == [13, None, None]
    for each in found:
        assert each['train']['equal'] and each['train']['buffers']
        assert each['train']['seen'] == each['train']['expected']
        assert len(each['train']['seen']) == 4
    assert len({path for each in found for path in each['train']['seen']}) == 12


def test_other_sources_travel_as_they_are(found):
    for process, each in enumerate(found):
        assert set(each['others']) == {'ImageNet', 'ListFile', 'Coco', 'TarShards'}
        for kind in each['others'].values():
            assert kind['equal'] and kind['starts'] and kind['images'] == 13
            assert (kind['listed'] > 0) == (process == 0)


def test_a_listing_may_take_longer_than_a_beat(found):
    assert [each['slow'] for each in found] == [dict(sum=999 * 998 // 2, size=999)] * 3


def test_an_error_of_process_0_ends_all(found):
    for name, kind, words in (
        ('empty', 'FileNotFoundError', 'no image below'),
        ('no_json', '', 'other.json'),
    ):
        first, *others = (each[name] for each in found)
        assert first.startswith(kind) and words in first and '\n' not in first
        assert others == [f'RuntimeError: process 0 cannot list the images: {first}'] * 2


def test_files_that_a_process_misses_end_all(found):
    (words,) = {each['elsewhere'] for each in found}
    assert re.match(
        r'FileNotFoundError: train_dataloader.dataset.data_root=photos: 1 of 3 processes do not see the '
        r'files that process 0 lists \(first 0/.é.jpg on \S+, process 2: missing, or another file\)',
        words,
    )


def test_a_process_may_list_for_itself(found):
    assert [each['alone'] for each in found] == [None, 13, None]


def test_without_a_group_nothing_changes():
    loader = dict(dataset=dict(type='PretrainDataset', data_root='nowhere'))
    assert with_shared_source(loader) is loader


class Files(Source):
    """Paths, of which every second one is a file."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        for i in range(0, count, 2):
            (folder / str(i)).write_bytes(b'x' * i)

    def __len__(self) -> int:
        return self.count

    def load(self, index: int) -> tuple[str, str]:
        return str(self.folder / str(index)), str(index)


@pytest.mark.parametrize('count', [1, LOOKED_FOR, LOOKED_FOR + 1, 100])
def test_what_process_0_does_not_see_is_not_asked_for(tmp_path, count):
    seen = stamps(Files(tmp_path, count))
    step = int(np.ceil(count / LOOKED_FOR))
    assert seen == {i: i for i in range(0, count, step) if i % 2 == 0}
