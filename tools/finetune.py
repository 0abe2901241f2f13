#!/usr/bin/env python
"""Fine-tune a stock mmdet or mmseg model from a run or weights; the same as ``densecl finetune``."""

import sys

from densecl.cli import main

if __name__ == '__main__':
    main(['finetune', *sys.argv[1:]])
