"""The scripts of ``tools/``, wherever the package is installed."""

import runpy
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def tools() -> dict[str, Path]:
    """Name -> script, of a source checkout or of an installed package."""
    checkout, installed = PACKAGE.parent / 'tools', PACKAGE / '.mim' / 'tools'
    folder = installed if installed.is_dir() else checkout
    return {path.stem: path for path in sorted(folder.glob('*.py'))}


def run_tool(name: str, arguments: list[str]) -> None:
    """Run a tool in this process as if it had been called by its path.

    Raises:
        FileNotFoundError: there is no such tool.
    """
    script = tools().get(name)
    if script is None:
        raise FileNotFoundError(f'there is no tool {name}; tools: {", ".join(tools()) or "none installed"}')
    before = sys.argv, sys.path[:]
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    try:
        runpy.run_path(str(script), run_name='__main__')
    finally:
        sys.argv, sys.path[:] = before
