"""``python -m densecl TOOL ARGUMENTS``: the tools, wherever the package is installed."""

import runpy
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def tools() -> dict[str, Path]:
    """Name -> script, of a source checkout or of an installed package."""
    checkout, installed = PACKAGE.parent / 'tools', PACKAGE / '.mim' / 'tools'
    folder = installed if installed.is_dir() else checkout
    return {path.stem: path for path in sorted(folder.glob('*.py'))}


def main() -> None:
    """Run one tool as if it had been called by its path."""
    known = tools()
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        sys.exit(f'usage: python -m densecl TOOL ...; tools: {", ".join(known) or "none installed"}')
    script = known[sys.argv[1]]
    sys.argv = [str(script), *sys.argv[2:]]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name='__main__')


if __name__ == '__main__':
    main()
