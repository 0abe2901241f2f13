#!/usr/bin/env python
"""Name the candidate objects of every image of a data source, once, into a store.

python tools/make_proposals.py data/photos --out data/proposals
python tools/make_proposals.py 'shards/{000..127}.tar' --out data/proposals --shard 3/8  # 4th of 8 machines
python tools/make_proposals.py data/photos --out data/grid --provider GridBoxes --provider-options rows=4
python tools/make_proposals.py --from-coco instances.json --out data/boxes
python tools/make_proposals.py imagenet/train --from-soco train_ratio3size0308post.json --out data/proposals
python tools/make_proposals.py --out data/proposals --to-coco proposals.json

The same command goes on where it was interrupted, and adds images that came later.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from mmengine.config import Config, DictAction

from densecl.datasets.decode import decode_image
from densecl.datasets.sources import Source
from densecl.engine.one_line import call
from densecl.files import write_json
from densecl.proposals import (
    SOCO_FALLBACKS,
    SOCO_RULES,
    Filtered,
    ProposalStore,
    write_coco,
    write_soco,
)
from densecl.proposals.making import Maker, fill, open_positions, shard_file
from densecl.proposals.summary import as_text, describe, progress
from densecl.registry import DATASETS, PROPOSALS
from densecl.visualization import save_image
from densecl.visualization.proposals import contact_sheet

SEARCH = dict(strategy='single', scale=300, sigma=0.9, min_size=100)  # SoCo's
SHORT_SIDE = 640


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', nargs='*', help='folders of images (any depth), or tars')
    parser.add_argument('--out', required=True, help='folder of the store')
    data = parser.add_argument_group('data', 'found out unless given')
    data.add_argument('--source-type', help='Folder, ImageNet, TarShards, ListFile, Coco, VOC or your own')
    data.add_argument('--list', help='text file of the images to take, paths below SOURCE')
    data.add_argument('--source-options', nargs='+', action=DictAction, default={}, help='key=value ...')
    data.add_argument('--high-depth', choices=('range', 'stretch'), default='range', help='16-bit images')
    what = parser.add_argument_group('proposals', "by default SoCo's selective search and filter")
    what.add_argument('--strategy', choices=('single', 'fast', 'quality'), help='of the default search')
    what.add_argument(
        '--short-side', type=int,
        help='the default search shrinks larger photos to this size: 640 (0: none, as SoCo does)',
    )  # fmt: skip
    what.add_argument('--provider', help='another: its type, or a config file with proposals = dict(...)')
    what.add_argument('--provider-options', nargs='+', action=DictAction, default={}, help='key=value ...')
    what.add_argument(
        '--filter', choices=('soco', 'none'), help='by default soco for selective search, none for others'
    )
    work = parser.add_argument_group('work')
    work.add_argument('--jobs', type=int, default=len(os.sched_getaffinity(0)), help='processes (all cores)')
    work.add_argument(
        '--shard', type=parse_shard, default=(0, 1), metavar='I/N', help='part I = 0 .. N - 1 of N machines'
    )
    work.add_argument('--sheet', type=int, default=24, help='photos on the contact sheet')
    convert = parser.add_argument_group('other formats')
    convert.add_argument('--from-coco', nargs='+', metavar='JSON', help='take the boxes of COCO jsons')
    convert.add_argument('--images', metavar='JSON', help='lists the images, for results lists')
    convert.add_argument('--from-soco', metavar='JSON', help="take the boxes of SoCo's json; needs SOURCE")
    convert.add_argument('--to-coco', metavar='JSON', help='write the store as a COCO json')
    convert.add_argument('--to-soco', metavar='JSON', help="write the store as SoCo's json")
    args = parser.parse_args()
    if not (args.source or args.from_coco or args.to_coco or args.to_soco):
        parser.error('give SOURCE, --from-coco, --to-coco or --to-soco')
    if args.from_soco and not args.source:
        parser.error("--from-soco needs SOURCE: SoCo's json does not say how large the images are")
    searching = not (args.provider or args.from_coco or args.from_soco)
    if not searching and (args.strategy, args.short_side) != (None, None):
        parser.error('--strategy and --short-side are of the default search; use --provider-options')
    return args


def parse_shard(text: str) -> tuple[int, int]:
    """``3/8`` -> (3, 8)."""
    number, _, count = text.partition('/')
    return int(number), int(count)


def main() -> None:
    """Make what is missing, report, convert."""
    args = parse_args()
    sys.stdout.reconfigure(errors='backslashreplace')  # names of files need not be UTF-8
    if args.source:
        make(args, build_source(args))
    elif args.from_coco:
        convert_coco(args)
    for write, path in ((write_coco, args.to_coco), (write_soco, args.to_soco)):
        if path:
            store = ProposalStore.open(args.out)
            write(store, path)
            print(f'{path}: {len(store)} images')


def make(args: argparse.Namespace, source: Source) -> None:
    """The images of a source that the store lacks."""
    config = provider_config(args)
    path = shard_file(args.out, args.shard)
    maker = Maker(source, PROPOSALS.build(dict(config)), high_depth=args.high_depth)
    unreadable = []
    with ProposalStore.write(path, dict(provider=config), append=True) as writer:
        positions = open_positions(source, writer, args.shard)
        total = len(positions) + len(writer)
        what = f'{type(source).__name__} of {len(source)} images'
        print(f'{what}; {path}: {len(writer)} images held, {len(positions)} to do, {args.jobs} processes')
        for made in progress(fill(writer, maker, positions, args.jobs), total, len(writer)):
            if made.error is not None:
                unreadable.append(made.error)
    store = ProposalStore.open(path)
    store.verify()
    report(store, unreadable, path)
    picture = sheet(source, store, args.sheet, args.high_depth) if args.sheet else None
    if picture is not None:
        print(save_image(path.with_suffix('.png'), picture))


def build_source(args: argparse.Namespace) -> Source:
    """The data source that the command line means."""
    kind, root = args.source_type, args.source if len(args.source) > 1 else args.source[0]
    tars = '.tar' in args.source[0] or any(Path(args.source[0]).glob('*.tar'))
    if kind is None:
        kind = 'ListFile' if args.list else 'TarShards' if tars else 'Folder'
    options = dict(args.source_options, **({'list_file': args.list} if args.list else {}))
    return DATASETS.build(dict(type=kind, data_root=root, **options))


def provider_config(args: argparse.Namespace) -> dict:
    """The provider that the command line means, with its filter."""
    if args.from_soco:
        config = dict(type='SocoJson', ann_file=args.from_soco)
    elif args.from_coco:
        config = coco_config(args)
    elif args.provider is None:
        config = dict(type='SelectiveSearch', **SEARCH)
        short_side = SHORT_SIDE if args.short_side is None else args.short_side or None
        config.update(strategy=args.strategy or SEARCH['strategy'], short_side=short_side)
    elif args.provider.endswith('.py'):
        config = Config.fromfile(args.provider).proposals.to_dict()
    else:
        config = dict(type=args.provider)
    config.update(args.provider_options)
    searches = config['type'] == 'SelectiveSearch'
    wanted = args.filter or ('soco' if searches else 'none')
    if wanted == 'none':
        return config
    return dict(type='Filtered', provider=config, rules=SOCO_RULES, fallbacks=SOCO_FALLBACKS)


def coco_config(args: argparse.Namespace) -> dict:
    """The provider of --from-coco."""
    return dict(type='CocoBoxes', ann_file=args.from_coco, images=args.images)


def convert_coco(args: argparse.Namespace) -> None:
    """All images of COCO jsons into the store, without looking at them."""
    config = provider_config(args)
    boxes = PROPOSALS.build(dict(config))
    names = boxes.provider if isinstance(boxes, Filtered) else boxes
    path = shard_file(args.out)
    with ProposalStore.write(path, dict(provider=config), append=True) as writer:
        for name in names:
            if name not in writer:
                writer[name] = boxes(None, name)
    report(ProposalStore.open(path), [], path)


def report(store: ProposalStore, unreadable: list[str], path: Path) -> None:
    """Print what is in a file of the store, and keep it beside the file."""
    figures = describe(store)
    print(as_text(figures, unreadable))
    content = dict(figures, unreadable=unreadable, settings=store.settings)
    write_json(path.with_suffix('.json'), content)


def sheet(source: Source, store: ProposalStore, count: int, high_depth: str) -> np.ndarray | None:
    """Photos of the store, evenly spread, with their boxes; None if it has none of the source's."""
    held = [i for i in range(len(source)) if source.image_id(i) in store]
    if not held:
        return None
    chosen = np.unique(np.linspace(0, len(held) - 1, count).astype(int))
    photos = []
    for position in (held[i] for i in chosen):
        image = decode_image(*source.load(position), high_depth)
        photos.append((image, store[source.image_id(position)]))
    return contact_sheet(photos)


if __name__ == '__main__':
    call(main)
