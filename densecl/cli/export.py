"""Write the backbone of a run or checkpoint for those who will use it.

Of a run the weights that its guard chose are taken. A checkpoint that the guard found worse than the start
is refused, unless --force is given.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument('run_or_checkpoint', help='folder of a run, or a checkpoint of any common kind')
    parser.add_argument(
        '--to', default='mmdet', help='mmdet, mmseg, torchvision, timm, detectron2, safetensors, huggingface'
    )
    parser.add_argument(
        '--branch', default='auto', help='online, target, or auto: the one that the method evaluates'
    )
    parser.add_argument(
        '--without',
        metavar='REGEX',
        help="leave these behind, by the beginning of their names in mmdet: 'neck|roi_head', 'roi_head.*fcs'",
    )
    parser.add_argument('--out', help='file to write (default: beside the checkpoint)')
    parser.add_argument(
        '--check', metavar='IMAGE', help='compare features of source and export on this image'
    )
    parser.add_argument(
        '--force', action='store_true', help='also where the guard says that the start is better'
    )


def run(args: argparse.Namespace) -> int:
    """Export."""
    import densecl.compat

    densecl.compat.install()
    from densecl.runs.export import refuse_worse
    from densecl.runs.run import Run
    from densecl.tools import run_tool

    checkpoint = Path(args.run_or_checkpoint)
    if checkpoint.is_dir():
        done = Run(checkpoint)
        print(done.guard.get('told', f'no guard has watched {checkpoint}'))
        checkpoint = done.best
    elif not checkpoint.is_file():
        raise FileNotFoundError(f'{checkpoint}: no such run or checkpoint')
    refuse_worse(checkpoint, args.force)
    further = [('--out', args.out), ('--check', args.check), ('--without', args.without)]
    given = [part for name, value in further if value for part in (name, value)]
    given += ['--force'] if args.force else []
    options = ['--to', args.to, '--branch', args.branch, *given]
    run_tool('export', [str(checkpoint), *options], called='densecl export')
    return 0
