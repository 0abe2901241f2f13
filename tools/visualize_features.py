#!/usr/bin/env python
"""Pictures of what the features of runs and checkpoints see; the same as ``densecl show``."""

import sys

from densecl.cli import main

if __name__ == '__main__':
    main(['show', *sys.argv[1:]])
