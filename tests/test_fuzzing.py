"""Hostile input for all readers: every kind once, json of any shape, and a fuzzer that notices faults."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzzing import configs
from benchmarks.fuzzing.readers import config_reader, readers
from benchmarks.fuzzing.supervise import supervise
from benchmarks.fuzzing.trial import Kind, Reader, execute, hostile, kinds_of, require

FUZZ = Path(__file__).parents[1] / 'benchmarks/fuzz.py'
FINITE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just('../../etc/passwd'),
    st.sampled_from(['id', 'file_name', 'a.jpg', '/etc/passwd', [0, 0, 1, 1]]),
)  # fmt: skip
ANYTHING = st.recursive(
    FINITE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def test_every_kind_of_input_once():
    """No process dies or hangs, no memory without bound, no wrong result, no error of several lines."""
    done = subprocess.run([sys.executable, str(FUZZ)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    executions, kinds = (int(word) for word in done.stdout.split()[:4:3])
    assert executions == kinds >= 1500


def test_every_kind_of_mistake_in_a_config_once():
    done = subprocess.run(
        [sys.executable, str(FUZZ), '--configs'], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith('35 executions of 35 kinds')


def test_a_misspelt_key_of_which_nothing_is_said_is_a_fault(tmp_path, monkeypatch):
    reader = config_reader(tmp_path)
    kind = Kind(reader, 'mae', 'config_name')
    content = json.loads(reader.seeds['mae'])
    content['config']['train_dataloader']['colate'] = 3
    content.update(how='name', path=['train_dataloader', 'colate'])
    data = json.dumps(content).encode()
    assert execute(kind, data, tmp_path, None) is None
    monkeypatch.setattr(configs, 'try_out', lambda cfg, show: True)
    assert 'nobody reads train_dataloader.colate, and nothing' in execute(kind, data, tmp_path, None)


@pytest.fixture(scope='module')
def json_readers(tmp_path_factory):
    folder = tmp_path_factory.mktemp('readers')
    return folder, {r.name: r for r in readers(folder) if r.changes.keys() >= {'json_value'}}


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@pytest.mark.parametrize(
    'name', ['coco-boxes', 'coco-source', 'coco-labels', 'coco-training', 'soco', 'generated', 'maps-index']
)
def test_json_of_any_shape(json_readers, name, data):
    """One or two entries of a valid file become anything."""
    folder, found = json_readers
    reader = found[name]
    content = json.loads(next(iter(reader.seeds.values())))
    for _ in range(data.draw(st.integers(1, 2))):
        top = parent = [content]
        key = 0
        while (
            isinstance(parent[key], dict | list)
            and parent[key]
            and (parent is top or data.draw(st.booleans()))
        ):
            parent = parent[key]
            key = data.draw(
                st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent)))
            )
        parent[key] = data.draw(ANYTHING)
        content = top[0]
    kind = Kind(reader, next(iter(reader.seeds)), 'json_value')
    assert execute(kind, json.dumps(content).encode(), folder, None) is None


def test_an_input_is_a_function_of_seed_and_number(tmp_path):
    for kind in kinds_of(readers(tmp_path))[:40]:
        assert hostile(kind, 0, 5) == hostile(kind, 0, 5)


def fails(error: Exception):
    def read(path):
        raise error

    return read


@pytest.mark.parametrize(
    ('read', 'what'),
    [
        (lambda path: require(False, 'a box'), 'wrong result: a box'),
        (lambda path: path.read_bytes(), 'the change was not noticed'),
        (fails(KeyError('x')), 'KeyError in place of one that names the file'),
        (fails(ValueError('x.bin is\nno file')), 'an error of several lines'),
        (fails(ValueError('it is no file')), 'does not name the file'),
        (lambda path: np.empty(10**15, np.uint8), 'MemoryError'),
    ],
)
def test_faults_are_noticed(read, what, tmp_path):
    reader = Reader('some', 'x.bin', {'a': b'abc'}, read, (ValueError,), ('flip_bit',))
    kind = Kind(reader, 'a', 'flip_bit')
    assert what in execute(kind, hostile(kind, 0, 0), tmp_path, b'abc')


CHILD = """
import json, os, sys, time
from pathlib import Path
import numpy as np
from benchmarks.fuzzing.trial import Reader, kinds_of, run
folder, start, counter = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
shared = np.memmap(os.fdopen(counter, 'r+b'), np.int64, 'r+', shape=1)

def read(path):
    if shared[0] == 2:
        os.abort()
    if shared[0] == 5:
        time.sleep(60)
    if path.read_bytes() != b'abc' and shared[0] == 7:
        raise KeyError('x')

kinds = kinds_of([Reader('some', 'x.bin', {'a': b'abc'}, read, (ValueError,))])
print(json.dumps(dict(stop=9, kinds=len(kinds))), flush=True)
run(kinds, range(start, 9), 0, folder, shared, lambda fault: print(json.dumps(fault), flush=True), 2)
"""


def test_a_process_that_dies_or_hangs_is_a_fault_and_the_next_one_goes_on(tmp_path):
    found = supervise(lambda *numbers: [sys.executable, '-c', CHILD, str(tmp_path), *map(str, numbers)])
    assert found.executions == 9 and [fault['number'] for fault in found.faults] == [2, 5, 7]
    died, hung, wrong = (fault['what'] for fault in found.faults)
    assert died.startswith('the process died (-6)') and 'Timeout (0:00:02)' in hung and 'KeyError' in wrong


@pytest.mark.parametrize('number', [1403, 3512, 5114])
def test_inputs_that_were_faults(number, tmp_path):
    """A list of numbers for names, a zip of many disks, an encrypted index: found by a long run of seed 2."""
    kinds = kinds_of(readers(tmp_path))
    kind = kinds[number % len(kinds)]
    path = tmp_path / kind.reader.name / kind.reader.file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(kind.reader.seeds[kind.seed])
    assert execute(kind, hostile(kind, 2, number), tmp_path, kind.reader.read(path)) is None
