"""Fine-tune a stock mmdet or mmseg model from a run or weights; its config is yours to edit."""

import argparse
from pathlib import Path

from .arguments import positive, positive_int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument('start', help='folder of a run, a checkpoint, any file of weights, or imagenet')
    parser.add_argument('--data', required=True, help='COCO json, or a folder with images/ and labels/ (PNG)')
    parser.add_argument(
        '--out', default='runs/finetune', help='folder for config, checkpoints, figures, pictures'
    )
    parser.add_argument('--val', help='json or folder for validation (default: a part of --data)')
    parser.add_argument('--images', help='folder of the images, where they are not beside the json')
    parser.add_argument(
        '--share', type=float, default=1.0, help='of the training images: 0.1 learns from every tenth'
    )
    parser.add_argument(
        '--class-agnostic', action='store_true', help='learn to find objects of any category, as one class'
    )
    parser.add_argument(
        '--task', choices=('detection', 'instance', 'semantic'), help='default: what the labels carry'
    )
    parser.add_argument('--size', choices=('slim', 'full'), help='default: full where there is a GPU')
    parser.add_argument('--iters', type=positive_int, help='length of the training')
    parser.add_argument('--minutes', type=positive, help='the same by time; a few steps are timed')
    parser.add_argument('--batch', type=positive_int, help='images a step')
    parser.add_argument('--lr', type=positive, help="AdamW's rate for the new layers")
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--amp', choices=('bf16', 'fp16'), help='train in mixed precision')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on in --out, with the config.py there and its last checkpoint',
    )
    parser.add_argument('--write-only', action='store_true', help='write the config and stop')


def run(args: argparse.Namespace) -> int:
    """Write the config and run it."""
    from densecl.engine.checks import claimed

    if args.resume and args.write_only:
        raise ValueError('--resume trains, --write-only does not: leave out one of them')
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    with claimed(out):
        return _go_on(out, args) if args.resume else _begin(out, args)


def _begin(out: Path, args: argparse.Namespace) -> int:
    from densecl.files import checkpoints_of
    from densecl.finetune import write_config

    config, found = out / 'config.py', checkpoints_of(out)
    if config.exists():
        raise FileExistsError(
            f'{out} holds another run (config.py): --resume goes on with it; or give another --out'
        )
    if found:
        raise FileExistsError(f'{out} holds another run ({found[0].name}); give another --out')
    left_out = ('write_only', 'resume', 'debug', 'command', 'run')
    try:
        write_config(**{key: value for key, value in vars(args).items() if key not in left_out})
        return 0 if args.write_only else _train(config)
    except Exception:
        if not checkpoints_of(out):  # the same command can begin again
            config.unlink(missing_ok=True)
        raise


def _go_on(out: Path, args: argparse.Namespace) -> int:
    config = out / 'config.py'
    if not config.is_file():
        raise FileNotFoundError(f'--resume: there is no fine-tuning in {out} (no config.py)')
    if (out / 'manifest.json').exists():
        raise ValueError(f'--resume: {out} holds a pretraining; densecl pretrain --resume goes on with it')
    if args.amp:
        raise ValueError(f'--resume --amp: the precision stands in {config} (optim_wrapper); leave out --amp')
    print(f'{config}: goes on with what stands there; the options given now are not used')
    return _train(config, resume=True)


def _train(config: Path, resume: bool = False) -> int:
    from densecl.finetune import finetune

    for name, value in finetune(config, resume=resume).items():
        print(f'{name:15s} {value:5.1f}')
    print(f'pictures: {config.parent / "pictures"}')
    return 0
