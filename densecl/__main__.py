"""``python -m densecl COMMAND ...``, as the command ``densecl``; ``python -m densecl TOOL ...`` runs a
tool."""

import sys

from densecl.cli import COMMANDS, main
from densecl.tools import run_tool, tools

if __name__ == '__main__':
    name = sys.argv[1] if len(sys.argv) > 1 else ''
    if name in tools() and name not in COMMANDS:
        run_tool(name, sys.argv[2:])
    else:
        main()
