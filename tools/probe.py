#!/usr/bin/env python
"""Dense quality of a frozen backbone on images with label maps; the same as ``densecl probe``."""

import sys

from densecl.cli import main

if __name__ == '__main__':
    main(['probe', *sys.argv[1:]])
