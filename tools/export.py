#!/usr/bin/env python
"""Write a pretrained backbone for those who will use it; the same as ``densecl export``."""

import sys

from densecl.cli import main

if __name__ == '__main__':
    main(['export', *sys.argv[1:]])
