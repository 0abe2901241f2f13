"""Dense quality of frozen features on a labelled set: linear and retrieval segmentation.

Of a run the start is probed too, and the scored images that are among its photos are told first. Images are
read as in the pretraining of the weights, or as --config says.

densecl probe runs/a --labelled data/camvid
densecl probe imagenet --options output_stride=16 --labelled instances_train.json --test instances_val.json
densecl probe random --config runs/a/config.py --labelled data/camvid
"""

import argparse
import json
from pathlib import Path

from .arguments import parsed_pairs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument(
        'what', help='folder of a run, a checkpoint, weights of another project, a name of some, or "random"'
    )
    parser.add_argument('--labelled', required=True, help='COCO json, or a folder with images/ and labels/')
    parser.add_argument('--test', help='another such path to score on; --labelled is then all training')
    parser.add_argument('--photos', nargs='+', help='folders of the pretraining photos, for the leak check')
    parser.add_argument('--config', help='whose backbone is built; that of the run or checkpoint by default')
    parser.add_argument('--branch', choices=('auto', 'online', 'target'), default='auto')
    parser.add_argument(
        '--options', nargs='+', metavar='KEY=VALUE',
        help='settings of the backbone where no config says them, as output_stride=16',
    )  # fmt: skip
    parser.add_argument('--size', type=int, nargs=2, metavar=('H', 'W'), help='of the images in pixels')
    parser.add_argument('--level', type=int, default=-1, help='of the backbone')
    parser.add_argument('--k', type=int, help='cells that vote in the retrieval')
    parser.add_argument('--temperature', type=float, help='of the votes')
    parser.add_argument('--cells', type=int, help='of an image in the memory of the retrieval')
    parser.add_argument('--seed', type=int, default=0, help='of both probes and of "random"')
    parser.add_argument('--device', help='cuda where there is one, else cpu')
    parser.add_argument('--out', help='json file of the figures (of a run; those of its start beside it)')
    parser.add_argument(
        '--pictures', help='folder of sixteen pictures, truth, linear and retrieval (of a run likewise)'
    )


def run(args: argparse.Namespace) -> int:
    """Check for leaks, then probe."""
    import densecl.compat

    densecl.compat.install()
    import densecl.registry  # noqa: F401  (makes the scope "densecl" known)
    from densecl.engine.launch import read_config
    from densecl.runs.run import Run

    done = Run(args.what) if Path(args.what).is_dir() else None
    path = args.config or (done and done.config)
    if args.what == 'random' and not path:
        raise ValueError('"random" needs --config, whose backbone is built')
    args.config = str(path) if path else None
    config = read_config(args.config) if path else None
    parts = {'': (args.what, '')} if done is None else {'run: ': (done.best, '')}
    if done is not None and done.start is not None:
        parts = {'start: ': (done.start, '_start')} | parts
    folders = args.photos or (done.photos if done else [])
    for number, (title, (weights, ending)) in enumerate(parts.items()):
        encoder = _encoder(weights, args, config)
        if number == 0:
            print(_leaks(folders, args, encoder.decoder))
        if title:
            print(f'{title}{weights}')
        _probe(encoder, args, str(weights), ending)
    return 0


def _encoder(weights: str | Path, args: argparse.Namespace, config):
    from mmengine.registry import init_default_scope

    from densecl.evaluation.features import open_encoder, random_encoder

    init_default_scope('densecl')
    if weights == 'random':
        return random_encoder(config, args.seed)
    return open_encoder(weights, args.branch, config, **(parsed_pairs(args.options, '--options') or {}))


def _leaks(folders: list[str], args: argparse.Namespace, decoder) -> str:
    from densecl.runs.checks import find_photos
    from densecl.runs.leak import leak_check

    if not folders:
        return 'leak check: the photos that these weights saw are not known here; --photos FOLDER compares'
    return leak_check(find_photos(folders), args.labelled, args.test, decoder)


def _probe(encoder, args: argparse.Namespace, weights: str, ending: str) -> None:
    """Both probes of one encoder; ``ending`` is added to the names of what is written."""
    import torch

    from densecl.evaluation.labelled import open_labelled
    from densecl.evaluation.probes import RETRIEVAL, draw_probe, probe

    labelled = open_labelled(args.labelled, args.test, encoder.decoder)
    size = tuple(args.size or labelled.use_size())
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    given = {name: getattr(args, name) for name in RETRIEVAL if getattr(args, name) is not None}
    retrieval, shown = RETRIEVAL | given, 16 if args.pictures else 0
    found = probe(encoder.to(device), labelled, size, args.level, args.seed, shown, **retrieval)
    for note in labelled.notes:
        print(f'note: {note}')
    print(
        f'{len(labelled.train)} images to learn from, {len(labelled.test)} to score on, '
        f'{size[0]} x {size[1]} pixels, {len(labelled.classes)} classes, {found.seconds:.0f} s'
    )
    _report(found.scores(), labelled.classes, retrieval, len(labelled.train))
    if args.out:
        kept = {name: getattr(args, name) for name in ('config', 'branch', 'level', 'seed', 'test')}
        content = dict(checkpoint=weights, **kept, **retrieval, labelled=str(args.labelled), size=size)
        _save(_ended(args.out, ending), content, labelled, found)
    if args.pictures:
        folder = _ended(args.pictures, ending)
        print(f'{len(draw_probe(found, labelled, size, folder))} pictures: {folder}')


def _report(scores: dict, classes: tuple[str, ...], retrieval: dict, images: int) -> None:
    """Print mean and classes of both probes."""
    said = 'memory {} x {cells} cells, k {k}, temperature {temperature}'.format(images, **retrieval)
    print(f'linear     mIoU {scores["linear"].mean:6.2f}')
    print(f'retrieval  mIoU {scores["retrieval"].mean:6.2f}   ({said})')
    width = max(map(len, classes))
    for i, name in enumerate(classes):
        pair = (scores[kind].per_class[i] for kind in ('linear', 'retrieval'))
        print(f'  {name:<{width}}  linear {next(pair):6.2f}   retrieval {next(pair):6.2f}')
    absent = [classes[i] for i in scores['linear'].absent]
    print(f'absent from the test part and not in the mean: {", ".join(absent) or "none"}')


def _save(path: Path, content: dict, labelled, found) -> None:
    """Write the figures and what they are of."""
    from densecl.files import atomic_write

    content |= dict(classes=labelled.classes, seconds=found.seconds)
    content |= dict(train_images=len(labelled.train), test_images=len(labelled.test))
    content |= {name: vars(score) for name, score in found.scores().items()}
    with atomic_write(path) as temporary:
        Path(temporary).write_text(json.dumps(content, indent=1))


def _ended(path: str, ending: str) -> Path:
    return Path(path).with_stem(Path(path).stem + ending)
