"""The package is light: what compiles is loaded when it is first needed."""

import subprocess
import sys

import pytest

from densecl.proposals import ProposalStore


def test_import_is_light():
    heavy = 'numba', 'pycocotools', 'pyarrow'
    code = f'import densecl.proposals, sys; print([m for m in {heavy} if m in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


def test_a_store_without_pyarrow_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'densecl\[proposals\]'"):
        ProposalStore.write(tmp_path / 'a.arrow')
    assert not list(tmp_path.iterdir())
