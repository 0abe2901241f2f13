"""Pictures of what the features see: colours, similarity, segments, neighbours.

Of a run its start stands beside the chosen weights; several runs or checkpoints are columns side by side.
captions.json beside the pictures explains each.

densecl show runs/a
densecl show imagenet runs/a/best_dense.pth --photos data/camvid/images/test --out pictures
densecl show runs/a --points 0.5,0.6 0.2,0.3
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument(
        'what', nargs='+', metavar='RUN_OR_CHECKPOINT',
        help='folder of a run, a checkpoint, weights of another project, or a name of some',
    )  # fmt: skip
    parser.add_argument('--photos', nargs='+', help='folders of images (default: those of the run)')
    parser.add_argument('--out', help='folder of the pictures (default: pictures/ in the run, or here)')
    parser.add_argument('--count', type=int, default=8, help='photos shown (%(default)s)')
    parser.add_argument(
        '--points', nargs='+', type=point, metavar='X,Y', default=[],
        help='that cells are compared with, in shares of the photo: 0,0 is top left, 1,1 bottom right '
        '(default: one in each photo, chosen by its segments)',
    )  # fmt: skip
    parser.add_argument('--segments', type=int, default=6, help='clusters of k-means (%(default)s)')
    parser.add_argument(
        '--gallery', type=int, default=64, help='photos that neighbours are searched in (%(default)s)'
    )
    parser.add_argument(
        '--embedding', metavar='FOLDER', help="write the gallery's mean cells for TensorBoard's projector"
    )
    parser.add_argument('--level', type=int, default=-1, help='of the backbone')
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('H', 'W'),
        help='of the photos in pixels (default: short side 448, aspect kept)',
    )  # fmt: skip
    parser.add_argument('--branch', choices=('auto', 'online', 'target'), default='auto')
    parser.add_argument('--device', help='cuda where there is one, else cpu')


def point(text: str) -> tuple[float, float]:
    """``'0.5,0.3'`` -> x, y."""
    try:
        x, y = map(float, text.split(','))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'takes x,y as 0.5,0.3, got {text!r}') from error
    return x, y


def run(args: argparse.Namespace) -> int:
    """Draw and say where."""
    import torch
    from mmengine.registry import init_default_scope

    import densecl.registry  # noqa: F401  (makes the scope "densecl" known)
    from densecl.runs.pictures import open_networks, write_pictures
    from densecl.runs.run import Run, is_run

    init_default_scope('densecl')
    runs = [Run(Path(what)) for what in args.what if is_run(what)]
    out = Path(args.out or (runs[0].folder / 'pictures' if runs else 'pictures'))
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f'--out {out}: a file is in the way')
    photos = args.photos or (runs[0].photos if runs else [])
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    networks = {name: each.to(device) for name, each in open_networks(args.what, args.branch).items()}
    if not photos:
        raise ValueError('the photos that these weights saw are not known here; give --photos FOLDER')
    names = ('count', 'points', 'level', 'segments', 'gallery', 'embedding')
    options = {name: getattr(args, name) for name in names}
    size = tuple(args.size) if args.size else None
    for name, caption in write_pictures(networks, photos, out, size=size, **options).items():
        print(f'{out / name}: {caption}')
    if args.embedding:
        print(f'tensorboard --logdir {args.embedding}')
    return 0
