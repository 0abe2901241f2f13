"""The package is light: what compiles is loaded when it is first needed."""

import subprocess
import sys


def test_import_loads_no_numba():
    code = 'import densecl.proposals, sys; print([m for m in ("numba", "pycocotools") if m in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
