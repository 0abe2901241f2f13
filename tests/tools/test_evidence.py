"""benchmarks/evidence.sh with a python that only notes what it is asked."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = """#!/bin/bash
case $1 in
tools/train.py)
    for word; do [ "$last" = --work-dir ] && work=$word; last=$word; done
    [ "$(basename "$work")" = "$FAILS" ] && { echo 'train.py: out of luck'; exit 2; }
    touch "$work/epoch_1.pth" ;;
tools/benchmark.py) printf '%s\\n' "$@" > "$ASKED" ;;
esac
"""


@pytest.fixture
def evidence(tmp_path):
    stub = tmp_path / 'bin/python'
    stub.parent.mkdir()
    stub.write_text(PYTHON)
    stub.chmod(0o755)
    (tmp_path / 'photos').mkdir()

    def call(*options, fails='', out='out'):
        environment = {**os.environ, 'PATH': f'{stub.parent}:{os.environ["PATH"]}', 'FAILS': fails}
        environment['ASKED'] = str(tmp_path / 'asked')
        command = ['bash', str(ROOT / 'benchmarks/evidence.sh'), '--photos', 'photos', '--out', out]
        kept = dict(cwd=tmp_path, env=environment, capture_output=True, text=True)
        done = subprocess.run([*command, '--epochs', '1', *options], **kept)
        asked = tmp_path / 'asked'
        return done.returncode, done.stderr, asked.read_text().splitlines() if asked.exists() else []

    return call


def test_weights_of_all_seeds_are_compared(evidence, tmp_path):
    code, said, asked = evidence('--methods', 'mocov2 densecl', '--tasks', 'camvid_frozen')
    assert code == 0 and said.count('pretrained:') == 4
    files = ','.join(f'{tmp_path}/out/runs/mocov2-{seed}/epoch_1.pth' for seed in (0, 1))
    assert f'mocov2={files}' in asked and asked[asked.index('--only') + 1] == 'camvid_frozen'


def test_a_method_that_fails_is_told_at_the_end_and_not_measured(evidence):
    """With one of its two files a seed would get the other pretraining, and later runs would be refused."""
    code, said, asked = evidence('--methods', 'mocov2 densecl', fails='mocov2-0')
    assert code == 1 and 'train.py: out of luck; see' in said
    assert said.endswith('evidence.sh: not measured: mocov2, whose pretraining failed with seed 0\n')
    assert any(word.startswith('densecl=') for word in asked)
    assert not any(word.startswith('mocov2=') for word in asked)


def test_a_folder_with_a_comma_is_refused(evidence):
    code, said, asked = evidence(out='a, b')
    assert (code, asked) == (2, []) and 'a comma separates files here' in said
