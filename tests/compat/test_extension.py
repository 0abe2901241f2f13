"""The stand-in as a module: what is put where, and when; each case in a fresh interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('mmcv')

from densecl import compat

if compat.install() == 'compiled':
    pytest.skip('a compiled mmcv is installed, so there is no stand-in', allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]


def run(code, *paths):
    """Run code in a new interpreter that finds densecl, and ``paths`` before all else."""
    path = [str(p) for p in (*paths, ROOT)]
    preamble = f'import sys; sys.path[:0] = {path!r}\n'
    done = subprocess.run(
        [sys.executable, '-c', preamble + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def fake_mmcv(folder, extension):
    """Write a package mmcv with the given source of ``_ext``; return where it lies."""
    (folder / 'mmcv').mkdir()
    (folder / 'mmcv' / '__init__.py').write_text('')
    (folder / 'mmcv' / '_ext.py').write_text(extension)
    return folder


def test_install_is_idempotent_and_light():
    code = """
from densecl import compat
first = compat.install()
module = sys.modules['mmcv._ext']
second = compat.install()
assert sys.modules['mmcv._ext'] is module
assert not {'mmdet', 'mmseg', 'mmcv', 'torchvision'} & set(sys.modules)
print(first, second)
"""
    assert run(code)[0] == 'stand-in stand-in'


def test_a_compiled_extension_wins(tmp_path):
    folder = fake_mmcv(tmp_path, 'def nms(): return "compiled"')
    code = """
from densecl.compat.extension import install_extension
print(install_extension(), install_extension())
import mmcv._ext
print(mmcv._ext.nms())
"""
    assert run(code, folder)[0].splitlines() == ['compiled compiled', 'compiled']


def test_a_broken_extension_is_replaced_with_a_warning(tmp_path):
    folder = fake_mmcv(tmp_path, 'raise ImportError("undefined symbol: _ZN3c10")')
    code = 'from densecl.compat.extension import install_extension; print(install_extension())'
    out, warning = run(code, folder)
    assert out == 'stand-in'
    assert 'undefined symbol' in warning and "densecl's stand-in takes its place" in warning


def test_without_mmcv_the_other_mends_still_work():
    code = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == 'mmcv' else find(name, *a)
from densecl import compat
print(compat.install(), 'mmcv._ext' in sys.modules)
"""
    assert run(code)[0] == 'absent False'


def test_other_operators_are_there_and_say_what_they_are_when_called():
    import mmcv._ext as stand_in
    from mmcv.ops import get_compiler_version
    from mmcv.utils.ext_loader import load_ext

    loaded = load_ext('_ext', ['upfirdn2d', 'nms_rotated'])
    with pytest.raises(NotImplementedError, match="'upfirdn2d' has no stand-in"):
        loaded.upfirdn2d(None, up=2)
    with pytest.raises(AttributeError):
        _ = stand_in.__path__
    assert 'stand-in' in get_compiler_version()


def test_the_environment_can_be_listed():
    from mmcv.utils import collect_env

    assert collect_env()['MMCV Compiler'] == 'n/a (stand-in of densecl.compat)'


def test_every_listed_operator_is_one_mmcv_asks_for():
    from densecl.compat.__main__ import extension_functions
    from densecl.compat.ops import OPERATORS

    assert set(OPERATORS) <= set(extension_functions())


def test_report():
    done = subprocess.run(
        [sys.executable, '-m', 'densecl.compat'], cwd=ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert any(line.startswith('torch ') for line in lines)
    assert 'mmcv operators: stand-in' in done.stdout
    assert any(line.split() == ['nms', 'torchvision'] for line in lines)
    assert '  upfirdn2d' in lines
    assert any(line.startswith('devices: cpu') for line in lines)
