"""The command on real photos: whole, in shards, killed and gone on with, and in other formats."""

import importlib.util
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tarfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from densecl.datasets.sources import Folder
from densecl.proposals import Filtered, ProposalStore, RandomBoxes, SelectiveSearch, writer
from densecl.proposals.making import Maker, fill, open_positions
from densecl.proposals.shard import Shard
from densecl.sample import sample_root

ROOT = Path(__file__).parents[2]
PHOTOS = sample_root() / 'photos/grocery'
FORK = multiprocessing.get_context('fork')
RANDOM = ['--provider', 'RandomBoxes', '--provider-options', 'count=5', '--sheet', '0']


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('make_proposals', ROOT / 'tools/make_proposals.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tool, monkeypatch):
    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', ['make_proposals.py', *map(str, arguments)])
        tool.main()

    return call


@pytest.fixture
def few(tmp_path):
    (tmp_path / 'few/sub').mkdir(parents=True)
    for number, path in enumerate(sorted(PHOTOS.rglob('*.jpg'))[::30]):
        shutil.copy(path, tmp_path / 'few' / ('sub' if number % 2 else '') / f'{number}.jpg')
    return tmp_path / 'few'


def check(folder, source, provider):
    store = ProposalStore.open(folder)
    assert len(store) == len(source)
    for index in range(0, len(source), 9):
        image = cv2.imread(source.load(index)[0])
        expected = provider(image, source.image_id(index))
        found = store[source.image_id(index)]
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=1 / 16 + 1e-4)
        assert found.size == image.shape[:2]


def test_killed_and_gone_on_with_equals_uninterrupted(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(writer, 'BATCH', 16)
    run(PHOTOS, '--out', tmp_path / 'whole', '--jobs', 1, *RANDOM)
    process = FORK.Process(target=run, args=(PHOTOS, '--out', tmp_path / 'cut', '--jobs', 2, *RANDOM))
    process.start()
    part, deadline = tmp_path / 'cut/00000-of-00001.arrow.part', time.monotonic() + 60
    while not list(part.glob('*.arrow')) and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.join()
    assert not (tmp_path / 'cut/00000-of-00001.arrow').exists()
    (part / '.1.arrow.abcd1234.tmp').write_bytes(b'half a batch')
    capsys.readouterr()
    run(PHOTOS, '--out', tmp_path / 'cut', '--jobs', 2, *RANDOM)
    held = int(re.search(r'(\d+) images held', capsys.readouterr().out)[1])
    assert 0 < held < 250 and held % 16 == 0
    names = ['00000-of-00001.arrow', '00000-of-00001.json']
    assert sorted(p.name for p in (tmp_path / 'cut').iterdir()) == names
    for name in names:
        assert (tmp_path / 'cut' / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()
    check(tmp_path / 'cut', Folder(PHOTOS), RandomBoxes(count=5))


def test_killed_while_the_file_was_renamed(run, few, tmp_path):
    rename = os.replace

    def kill_at_the_last(source, target):
        if str(target).endswith('00001.arrow'):
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)

    def killed():
        os.replace = kill_at_the_last
        run(few, '--out', tmp_path / 'a', '--jobs', 1, *RANDOM)

    process = FORK.Process(target=killed)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [p.name for p in (tmp_path / 'a').iterdir()] == ['00000-of-00001.arrow.part']
    run(few, '--out', tmp_path / 'a', '--jobs', 1, *RANDOM)
    names = ['00000-of-00001.arrow', '00000-of-00001.json']
    assert sorted(p.name for p in (tmp_path / 'a').iterdir()) == names
    check(tmp_path / 'a', Folder(few), RandomBoxes(count=5))


def test_what_is_held_is_not_made_again(tmp_path):
    source, path = Folder(PHOTOS), tmp_path / 'a.arrow'
    maker = Maker(source, RandomBoxes())
    with pytest.raises(KeyboardInterrupt), ProposalStore.write(path) as writing:
        for count, _ in enumerate(fill(writing, maker, range(len(source)), jobs=2), 1):
            if count == 100:
                raise KeyboardInterrupt
    with ProposalStore.write(path) as writing:
        left = open_positions(source, writing, (0, 1))
        assert len(left) == len(source) - 100 == len(source) - len(writing)
        made = [made.image_id for made in fill(writing, maker, left, jobs=2)]
    assert sorted(made) == sorted(source.image_id(i) for i in left)
    assert len(Shard(path)) == len(source)


def test_shards_together_are_the_whole(run, tmp_path, capsys):
    for number in (2, 0, 1):
        run(PHOTOS, '--out', tmp_path / 's', '--shard', f'{number}/3', '--jobs', 2, *RANDOM)
    files = sorted((tmp_path / 's').glob('*.arrow'))
    assert [f.name for f in files] == [f'0000{i}-of-00003.arrow' for i in range(3)]
    assert [len(Shard(f)) for f in files] == [83, 83, 84]
    check(tmp_path / 's', Folder(PHOTOS), RandomBoxes(count=5))
    capsys.readouterr()
    run(PHOTOS, '--out', tmp_path / 's', '--shard', '1/3', *RANDOM)
    assert '83 images held, 0 to do' in capsys.readouterr().out
    with pytest.raises(ValueError, match='of another division than 0/1'):
        run(PHOTOS, '--out', tmp_path / 's', *RANDOM)


def test_shards_of_other_settings_are_refused_at_once(run, few, tmp_path):
    run(few, '--out', tmp_path / 's', '--shard', '0/2', *RANDOM)
    other = ['--provider', 'RandomBoxes', '--provider-options', 'count=6', '--sheet', '0']
    with pytest.raises(ValueError, match='00000-of-00002.arrow holds proposals made with other settings'):
        run(few, '--out', tmp_path / 's', '--shard', '1/2', *other)
    assert sorted(p.suffix for p in (tmp_path / 's').iterdir()) == ['.arrow', '.json']


@pytest.mark.parametrize(
    'other', [['--provider', 'SelectiveSearch'], ['--from-coco', 'a.json'], ['--from-soco', 'a.json']]
)
@pytest.mark.parametrize('option', [['--strategy', 'fast'], ['--short-side', '0']])
def test_options_of_the_search_are_for_the_default_alone(run, tmp_path, capsys, other, option):
    with pytest.raises(SystemExit):
        run(tmp_path, '--out', tmp_path / 'a', *other, *option)
    assert 'are of the default search; use --provider-options' in capsys.readouterr().err


def test_sizes_of_the_default_search(tool, monkeypatch):
    found = []
    for option in ([], ['--short-side', '0'], ['--short-side', '200', '--strategy', 'fast']):
        monkeypatch.setattr(sys, 'argv', ['make_proposals.py', 'x', '--out', 'y', *option])
        search = tool.provider_config(tool.parse_args())['provider']
        found.append((search['strategy'], search['short_side']))
    assert found == [('single', 640), ('single', None), ('fast', 200)]


def test_example_without_a_store_searches_as_this_command_does(tool):
    text = (ROOT / 'docs/proposals.md').read_text()
    (settings,) = re.findall(r"type='SelectiveSearch', (strategy=[^)]*)\)", text)
    made, said = (
        SelectiveSearch(**options)
        for options in (dict(tool.SEARCH, short_side=tool.SHORT_SIDE), eval(f'dict({settings})'))
    )
    assert vars(made) == vars(said)


def test_names_that_are_not_utf8(run, tmp_path, capsys):
    (tmp_path / 'odd').mkdir()
    tiny = cv2.imencode('.png', np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    for name, content in ((b'\xe9.png', tiny), (b'\xe8.png', b'no image')):
        (tmp_path / 'odd' / os.fsdecode(name)).write_bytes(content)
    run(tmp_path / 'odd', '--out', tmp_path / 'a', '--provider', 'GridBoxes', '--filter', 'soco')
    output = capsys.readouterr().out
    assert '\n  \\udce9.png\n' in output and '\\udce8.png' in output
    figures = json.loads((tmp_path / 'a/00000-of-00001.json').read_text())
    assert list(map(os.fsencode, figures['without'])) == [b'\xe9.png']


def test_no_sheet_of_a_source_that_cannot_be_read(run, few, tmp_path):
    grid = ['--provider', 'GridBoxes', '--jobs', 1]
    run(few, '--out', tmp_path / 'a', *grid)
    (tmp_path / 'a/00000-of-00001.png').unlink()
    (tmp_path / 'bad').mkdir()
    (tmp_path / 'bad/x.jpg').write_bytes(b'no image')
    run(tmp_path / 'bad', '--out', tmp_path / 'a', *grid)
    assert sorted(p.suffix for p in (tmp_path / 'a').iterdir()) == ['.arrow', '.json']


def test_by_default_socos_search_and_filter(run, few, tmp_path, capsys):
    pytest.importorskip('numba')
    (few / 'broken.jpg').write_bytes(b'no image')
    run(few, '--out', tmp_path / 'a', '--jobs', 2)
    (few / 'broken.jpg').unlink()
    search = SelectiveSearch('single', scale=300, sigma=0.9, min_size=100, short_side=640)
    provider, source, store = Filtered(search), Folder(few), ProposalStore.open(tmp_path / 'a')
    for index in range(len(source)):
        image = cv2.imread(source.load(index)[0])[..., ::-1]
        expected = provider(np.ascontiguousarray(image), 'x').boxes
        assert (store[source.image_id(index)].boxes == expected).all()
    output = capsys.readouterr().out
    assert 'files that cannot be read: 1' in output and 'broken.jpg' in output
    figures = json.loads((tmp_path / 'a/00000-of-00001.json').read_text())
    counts = [len(store[name]) for name in store]
    assert figures['images'] == len(source) == 9 and figures['boxes'] == sum(counts)
    assert figures['boxes_per_image'][3] == np.median(counts) and 'broken.jpg' in figures['unreadable'][0]
    picture = cv2.imread(str(tmp_path / 'a/00000-of-00001.png'))
    assert picture.shape[0] > 240 and picture.std() > 30
    shutil.copy(few / '0.jpg', few / 'later.jpg')  # an image that comes later is added
    run(few, '--out', tmp_path / 'a', '--jobs', 1, '--sheet', 2)
    assert '9 images held, 1 to do' in capsys.readouterr().out
    assert len(ProposalStore.open(tmp_path / 'a')) == 10


def test_lists_and_tars(run, few, tmp_path, monkeypatch):
    monkeypatch.setenv('DENSECL_CACHE', str(tmp_path / 'cache'))
    (tmp_path / 'list.txt').write_text('sub/1.jpg\n2.jpg\nsub/1.jpg\n')  # one of them twice
    run(few, '--list', tmp_path / 'list.txt', '--out', tmp_path / 'list', *RANDOM)
    assert list(ProposalStore.open(tmp_path / 'list')) == ['2.jpg', 'sub/1.jpg']
    with tarfile.open(tmp_path / 'x.tar', 'w') as tar:
        tar.add(few, '.')
    run(tmp_path / 'x.tar', '--out', tmp_path / 'tar', *RANDOM)
    assert len(ProposalStore.open(tmp_path / 'tar')) == 9
    assert next(iter(ProposalStore.open(tmp_path / 'tar'))).startswith('x.tar/')


def test_other_formats(run, few, tmp_path):
    run(few, '--out', tmp_path / 'a', *RANDOM, '--to-coco', tmp_path / 'a.json')
    run('--out', tmp_path / 'b', '--from-coco', tmp_path / 'a.json')
    store, back = ProposalStore.open(tmp_path / 'a'), ProposalStore.open(tmp_path / 'b')
    assert list(store) == list(back)
    assert all((store[name].boxes == back[name].boxes).all() for name in store)
    run('--out', tmp_path / 'a', '--to-soco', tmp_path / 's.json')
    run(few, '--out', tmp_path / 'c', '--from-soco', tmp_path / 's.json')
    again = ProposalStore.open(tmp_path / 'c')
    for name in store:
        assert (again[name].boxes == store[name].boxes.round()).all() and again[name].size == store[name].size


def test_coco_boxes_through_the_filter(run, tmp_path):
    images = [dict(id=i, file_name=f'{i}.png', height=80, width=90) for i in (1, 2)]
    boxes = [dict(image_id=1, bbox=[5, 6, side, side]) for side in (10, 40)]
    (tmp_path / 'c.json').write_text(json.dumps(dict(images=images, annotations=boxes)))
    run('--from-coco', tmp_path / 'c.json', '--out', tmp_path / 'a', '--filter', 'soco')
    store = ProposalStore.open(tmp_path / 'a')
    assert {name: store[name].boxes.tolist() for name in store} == {'1.png': [[5, 6, 45, 46]], '2.png': []}


def test_the_provider_of_a_config_file(run, few, tmp_path):
    (tmp_path / 'p.py').write_text("proposals = dict(type='GridBoxes', rows=2, columns=4)")
    run(few, '--out', tmp_path / 'a', '--provider', tmp_path / 'p.py', '--sheet', 0)
    store = ProposalStore.open(tmp_path / 'a')
    assert all(len(store[name]) == 8 for name in store)
    assert store.settings['provider'] == dict(type='GridBoxes', rows=2, columns=4)


class Deadly(RandomBoxes):
    """Ends the process on one image, as the system does where memory is short."""

    def __call__(self, image, image_id):
        if image_id == 'sub/7.jpg':
            os._exit(9)
        return super().__call__(image, image_id)


def test_a_worker_that_dies_is_reported(few, tmp_path):
    source = Folder(few)
    killed = pytest.raises(RuntimeError, match='a worker process was killed.*run the same command again')
    with killed, ProposalStore.write(tmp_path / 'a') as writing:
        list(fill(writing, Maker(source, Deadly()), range(len(source)), jobs=2))
    assert not (tmp_path / 'a').exists() and (tmp_path / 'a.part').exists()
