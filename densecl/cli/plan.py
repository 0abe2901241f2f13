"""Say what pretrain would do, or what a config needs: memory, time, bytes sent; nothing is written.

densecl plan my/photos
densecl plan configs/densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py --gpu 4090 --gpus 2
"""

import argparse

from .arguments import add_pretraining, parsed_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    add_pretraining(parser)
    parser.add_argument('--config', action='store_true', help='print the config too')
    group = parser.add_argument_group('of a config (a .py file, or package::path, in place of photos)')
    group.add_argument('--gpu', help='h100 (default), h200, a100-80, a100-40, l40s, 4090, 3090, v100, t4')
    group.add_argument('--gpus', type=int, help="their number (default: the config's)")
    group.add_argument('--memory', type=float, help="GiB of one, in place of the model's")
    group.add_argument('--images', type=int, help="of the data set (default: the config's, or ImageNet's)")
    group.add_argument('--amp', choices=('fp32', 'bf16', 'fp16'), help="precision (default: the config's)")


def run(args: argparse.Namespace) -> int:
    """Decide and print."""
    wishes = {name: getattr(args, name) for name in ('gpu', 'gpus', 'memory', 'images')}
    wishes = {name: value for name, value in {**wishes, 'precision': args.amp}.items() if value is not None}
    if args.photos[0].endswith('.py') or '::' in args.photos[0]:
        for name in ('method', 'size', 'start', 'estimate'):
            if getattr(args, name):
                raise ValueError(f'--{name} is of photos; a config says it itself: {args.photos[0]}')
        _plan_config(args, wishes)
        return 0
    if wishes:
        name = next(iter(wishes)).replace('precision', 'amp')
        raise ValueError(f'--{name} is of a config; of photos this machine is planned for: {args.photos[0]}')
    from densecl.runs import make_plan

    plan = make_plan(
        args.photos,
        args.out,
        args.start,
        args.hours,
        args.method,
        size=args.size,
        measure=not args.estimate,
        options=parsed_options(args),
    )
    print(plan)
    if args.config:
        print(plan.text)
    return 0


def _plan_config(args: argparse.Namespace, wishes: dict) -> None:
    from densecl.engine.fields import merge_options
    from densecl.engine.launch import read_config
    from densecl.planning import plan_resources

    for path in args.photos:
        cfg = read_config(path)
        merge_options(cfg, parsed_options(args) or {})
        if args.config:
            print(cfg.pretty_text)
        if len(args.photos) > 1:
            print(f'\n{path}')
        print(plan_resources(cfg, hours=args.hours, **wishes))
