"""Dense quality of frozen features on a labelled set: linear and retrieval segmentation, clusters, boxes.

Of a run the start is probed too, and the scored images that are among its photos are told first. Images are
read as in the pretraining of the weights, or as --config says.

densecl probe runs/a --labelled data/camvid
densecl probe imagenet --options output_stride=16 --labelled instances_train.json --test instances_val.json
densecl probe random --config runs/a/config.py --labelled data/camvid
densecl probe runs/a --labelled instances.json --probes linear retrieval clusters discovery boxes
"""

import argparse
from pathlib import Path

from .arguments import parsed_pairs, positive, positive_int
from .probe_report import report, save

_PROBES = ('linear', 'retrieval', 'clusters', 'discovery', 'boxes')


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
    parser.add_argument(
        '--probes', nargs='+', choices=_PROBES, default=_PROBES[:2],
        help='which; discovery (of objects) and boxes (retrieval of their classes) need a COCO json',
    )  # fmt: skip
    parser.add_argument(
        '--clusters', type=int, nargs='+', default=(), metavar='K',
        help='of k-means; as many as classes and three times as many by default',
    )  # fmt: skip
    parser.add_argument(
        '--dropout', type=float, default=0.0, help="of channels in the linear probe; DINOv3's head has 0.1"
    )
    parser.add_argument('--k', type=positive_int, help='cells that vote in the retrieval')
    parser.add_argument('--temperature', type=positive, help='of the votes')
    parser.add_argument('--cells', type=positive_int, help='of an image in the memory of the retrieval')
    parser.add_argument('--seed', type=int, default=0, help='of the probes and of "random"')
    parser.add_argument('--device', help='cuda where there is one, else cpu')
    parser.add_argument('--out', help='json file of the figures (of a run; those of its start beside it)')
    parser.add_argument(
        '--pictures', help='folder of sixteen pictures, truth, linear and retrieval (of a run likewise)'
    )


def run(args: argparse.Namespace) -> int:
    """Check for leaks, then probe."""
    import densecl.registry  # noqa: F401  (makes the scope "densecl" known)
    from densecl.engine.launch import read_config
    from densecl.runs.run import Run

    done = Run(args.what) if Path(args.what).is_dir() else None
    path = args.config or (done and done.config)
    if args.what == 'random' and not path:
        raise ValueError('"random" needs --config, whose backbone is built')
    if args.pictures and not {'linear', 'retrieval'} & {*args.probes}:
        raise ValueError('--pictures draws the probes linear and retrieval; ask for one of them')
    args.config = str(path) if path else None
    config = read_config(args.config) if path else None
    parts = {'': (args.what, '')}
    if done is not None:
        parts = {name: (path, '_start' * (name == 'start')) for name, path in done.compared.items()}
    folders = args.photos or (done.photos if done else [])
    for number, (title, (weights, ending)) in enumerate(parts.items()):
        encoder = _encoder(weights, args, config)
        if number == 0:
            print(_leaks(folders, args, encoder.decoder))
        if title:
            print(f'{title}: {weights}')
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
    """The probes of one encoder; ``ending`` is added to the names of what is written."""
    import torch

    from densecl.evaluation.labelled import open_labelled
    from densecl.evaluation.probes import RETRIEVAL, draw_probe, probe

    labelled = open_labelled(args.labelled, args.test, encoder.decoder)
    size = tuple(args.size or labelled.use_size())
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    given = {name: getattr(args, name) for name in RETRIEVAL if getattr(args, name) is not None}
    retrieval, shown = RETRIEVAL | given, 16 if args.pictures else 0
    asked = tuple(dict.fromkeys(args.probes))
    encoder = encoder.to(device)
    more = dict(clusters=args.clusters, dropout=args.dropout, **retrieval)
    found = probe(encoder, labelled, size, args.level, args.seed, shown, asked, **more)
    for note in labelled.notes:
        print(f'note: {note}')
    print(
        f'{len(labelled.train)} images to learn from, {len(labelled.test)} to score on, '
        f'{size[0]} x {size[1]} pixels, {len(labelled.classes)} classes, {sum(found.seconds.values()):.0f} s'
    )
    report(found, labelled, retrieval)
    if args.out:
        kept = ('config', 'branch', 'level', 'seed', 'test', 'probes', 'dropout')
        kept = {name: getattr(args, name) for name in kept}
        content = dict(checkpoint=weights, **kept, **retrieval, labelled=str(args.labelled), size=size)
        save(_ended(args.out, ending), content, labelled, found)
    if args.pictures:
        folder = _ended(args.pictures, ending)
        files, tiles = draw_probe(found, labelled, size, folder), ('truth', *found.shown)
        print(f'{len(files)} pictures ({", ".join(tiles)}): {folder}')


def _ended(path: str, ending: str) -> Path:
    return Path(path).with_stem(Path(path).stem + ending)
