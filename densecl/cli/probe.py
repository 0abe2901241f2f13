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
    parser.add_argument('--out', help='json file of the figures (of a run; those of its start beside it)')
    parser.add_argument('--pictures', help='folder of pictures, truth, linear and retrieval (likewise)')


def run(args: argparse.Namespace) -> int:
    """Check for leaks, then probe."""
    import densecl.compat

    densecl.compat.install()
    from densecl.runs.leak import leak_check
    from densecl.runs.run import Run
    from densecl.tools import run_tool

    done = Run(args.what) if Path(args.what).is_dir() else None
    photos = _photos(args.photos, done)
    if photos:
        print(leak_check(photos, args.labelled, args.test))
    else:
        print('leak check: the photos that these weights saw are not known here; --photos FOLDER compares')
    options = ['--labelled', args.labelled, '--seed', str(args.seed)]
    options += ['--test', args.test] if args.test else []
    options += ['--size', *map(str, args.size)] if args.size else []
    if done is None:
        run_tool('probe', [args.what, *options, *_written(args)])
        return 0
    options += ['--config', str(done.config)]
    if done.start is not None:
        print(f'start: {done.start}')
        run_tool('probe', [str(done.start), *options, *_written(args, '_start')])
    print(f'run: {done.best}')
    run_tool('probe', [str(done.best), *options, *_written(args)])
    return 0


def _photos(folders: list[str] | None, done) -> list[str]:
    """Photos of the pretraining: in folders that were named, or where the run had them, if still there."""
    from densecl.engine.launch import read_config
    from densecl.runs.checks import find_photos

    if folders:
        return find_photos(folders)
    root = read_config(str(done.config)).train_dataloader.dataset.data_root if done else []
    roots = [root] if isinstance(root, str) else list(root)
    return find_photos(roots) if roots and all(Path(path).is_dir() for path in roots) else []


def _written(args: argparse.Namespace, ending: str = '') -> list[str]:
    """``--out`` and ``--pictures``, ``ending`` added to their names."""
    named = {option: Path(getattr(args, option)) for option in ('out', 'pictures') if getattr(args, option)}
    return [
        x for option, path in named.items() for x in (f'--{option}', str(path.with_stem(path.stem + ending)))
    ]
