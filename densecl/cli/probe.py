"""Dense quality of frozen features on a labelled set: linear and retrieval segmentation.

Of a run the start is probed too, and the scored images that are among its photos are told first.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument(
        'what', help='folder of a run, a checkpoint, weights of another project, or a name of some'
    )
    parser.add_argument('--labelled', required=True, help='COCO json, or a folder with images/ and labels/')
    parser.add_argument('--test', help='another such path to score on; --labelled is then all training')
    parser.add_argument('--photos', nargs='+', help='folders of the pretraining photos, for the leak check')
    parser.add_argument('--size', type=int, nargs=2, metavar=('H', 'W'), help='of the images in pixels')
    parser.add_argument('--seed', type=int, default=0)


def run(args: argparse.Namespace) -> int:
    """Check for leaks, then probe."""
    import densecl.compat

    densecl.compat.install()
    from densecl.engine.launch import read_config
    from densecl.runs.checks import find_photos
    from densecl.runs.leak import leak_check
    from densecl.runs.run import Run
    from densecl.tools import run_tool

    options = ['--labelled', args.labelled, '--seed', str(args.seed)]
    options += ['--test', args.test] if args.test else []
    options += ['--size', *map(str, args.size)] if args.size else []
    done = Run(args.what) if Path(args.what).is_dir() else None
    photos = args.photos or (done and read_config(str(done.config)).train_dataloader.dataset.data_root)
    if photos:
        print(
            leak_check(
                find_photos([photos] if isinstance(photos, str) else list(photos)), args.labelled, args.test
            )
        )
    else:
        print('leak check: not known which photos these weights saw; --photos FOLDER compares')
    if done is None:
        run_tool('probe', [args.what, *options])
        return 0
    for name, weights in (('start', done.start), ('run', done.best)):
        if weights is not None:
            print(f'{name}: {weights}')
            run_tool('probe', [str(weights), '--config', str(done.config), *options])
    return 0
