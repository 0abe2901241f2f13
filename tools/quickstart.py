#!/usr/bin/env python
"""The whole road on the bundled photos: pretrain, export, fine-tune a detector and a segmentor, look.

Everything is done by the other tools; each command is printed before it runs, to be copied. On two CPU
cores it takes ten to fifteen minutes.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(tool: str, *arguments: str | Path) -> None:
    """Run one tool and stop everything if it fails."""
    command = [sys.executable, str(ROOT / 'tools' / tool), *map(str, arguments)]
    print(f'\n$ python tools/{tool} {shlex.join(map(str, arguments))}', flush=True)
    start = time.time()
    environment = {'OMP_NUM_THREADS': str(os.cpu_count() or 1), **os.environ}
    done = subprocess.run(command, env=environment)
    if done.returncode:
        sys.exit(f'tools/{tool} failed with exit code {done.returncode}; its message is above')
    print(f'({time.time() - start:.0f} s)', flush=True)


def newest(folder: Path) -> Path:
    """The checkpoint that a run names as its last."""
    return Path((folder / 'last_checkpoint').read_text().strip())


def main() -> None:
    """Run the steps and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/quickstart'))
    work = parser.parse_args().work_dir
    configs = ROOT / 'configs/quickstart'
    start = time.time()

    pretrain = configs / 'densecl_resnet18_sample.py'
    run('train.py', pretrain, '--work-dir', work / 'densecl')
    checkpoint = newest(work / 'densecl')
    run('browse_views.py', pretrain, '--out', work / 'pictures/views', '--matches', checkpoint, '--num', '6')
    backbone = work / 'densecl_resnet18_mmdet.pth'
    run('export.py', checkpoint, '--to', 'mmdet', '--out', backbone)

    figures = {}
    for name, config in (('detector', 'mask-rcnn_r18_fpn_sample'), ('segmentor', 'fcn_r18_sample')):
        path, folder = configs / f'{config}.py', work / name
        # The evaluation is done once, below, with pictures.
        no_validation = ('--cfg-options', 'train_cfg.val_interval=1000000')
        run('train.py', path, '--work-dir', folder, '--pretrained', backbone, *no_validation)
        metrics = folder / 'metrics.json'
        pictures = work / 'pictures' / name
        run('test.py', path, newest(folder), '--work-dir', folder, '--out', metrics, '--show-dir', pictures)
        figures |= json.loads(metrics.read_text())

    print(f'\nFinished in {(time.time() - start) / 60:.1f} minutes.')
    for label, key, scale in (
        ('box AP', 'coco/bbox_mAP', 100),
        ('box AP50', 'coco/bbox_mAP_50', 100),
        ('mask AP', 'coco/segm_mAP', 100),
        ('mask AP50', 'coco/segm_mAP_50', 100),
        ('mIoU', 'mIoU', 1),
        ('pixel accuracy', 'aAcc', 1),
    ):
        print(f'{label:15s} {figures[key] * scale:5.1f}')
    print(f'Pictures: {work / "pictures"}')


if __name__ == '__main__':
    main()
