#!/usr/bin/env python
"""Name images, boxes and pixels by texts, with both towers of a pretraining on captions; nothing is trained.

python tools/zero_shot.py CHECKPOINT --folder data/val                                  # one folder a class
python tools/zero_shot.py CHECKPOINT --labelled instances_val.json --pictures pictures  # pixels and boxes
python tools/zero_shot.py CHECKPOINT --folder data/val --templates "a photo of {}" "a drawing of {}"
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

import densecl.registry  # noqa: F401
from densecl.datasets import collate_views
from densecl.datasets.captions import spoken
from densecl.datasets.subset import evenly
from densecl.datasets.unreadable import DataError
from densecl.engine.one_line import in_one_line
from densecl.evaluation import class_accuracy
from densecl.evaluation.features import labelled_images
from densecl.evaluation.labelled import open_labelled
from densecl.evaluation.probes import picture_names
from densecl.evaluation.segmentation import IGNORED
from densecl.evaluation.zero_shot import TEMPLATES, classifier, classify, open_image_text, segment
from densecl.files import write_json


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help="of a pretraining with target=dict(type='Text', ...); of a CLIP")
    parser.add_argument('--folder', help='images to classify: one folder a class')
    parser.add_argument('--labelled', help='COCO json, or a folder with images/ and labels/, to segment')
    parser.add_argument(
        '--classes', nargs='+', help='names in the order of the ids; those of the data by default'
    )
    parser.add_argument('--templates', nargs='+', default=TEMPLATES, help='texts with {} for the name')
    parser.add_argument('--tokenizer', help='its file; that of the training by default')
    parser.add_argument(
        '--quick-gelu',
        action=argparse.BooleanOptionalAction,
        help="of a file of CLIP: OpenAI's activation; by numbers and name of the file by default",
    )
    parser.add_argument(
        '--size',
        type=int,
        nargs='+',
        help='side of crops, that of a CLIP or 224 by default; height and width to segment at',
    )
    parser.add_argument(
        '--maps', action='store_true', help='of a ViT, the map and not the values of attention'
    )
    parser.add_argument('--pictures', help='folder of sixteen pictures, truth and segmentation')
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--out', help='json file of the figures')
    parser.add_argument('--debug', action='store_true', help='show where an error came from')
    args = parser.parse_args()
    if bool(args.folder) == bool(args.labelled):
        parser.error('give either --folder or --labelled')
    return args


def main() -> None:
    """Do what the command line says; what was given wrongly is told in one line."""
    args = parse_args()
    with in_one_line('zero_shot.py', args.debug, (ValueError, OSError, DataError)):
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Encode the classes, compare, print."""
    init_default_scope('densecl')
    model = open_image_text(args.checkpoint, args.tokenizer, not args.maps, args.quick_gelu).to(args.device)
    for note in model.notes:
        print(note)
    found = classes_of_images(model, args) if args.folder else classes_of_pixels(model, args)
    if args.out:
        kept = ('checkpoint', 'folder', 'labelled', 'templates', 'size')
        content = {name: getattr(args, name) for name in kept} | found
        write_json(args.out, content)


def classes_of_images(model, args: argparse.Namespace) -> dict:
    """Accuracy on a folder a class."""
    size = args.size[0] if args.size else model.size
    images = labelled_images(args.folder, size=size, decoder=model.encoder.decoder)
    names = named(args.classes, [spoken(name) for name in images.source.class_names], args.folder)
    weights, truth = classifier(model.texts, names, args.templates), []

    def batches():
        for batch in DataLoader(images, args.batch_size, collate_fn=collate_views):
            truth.append(batch['inputs'].labels)
            yield batch['inputs'].images[0]

    predicted = classify(model, batches(), weights)
    truth = torch.cat(truth)
    figures = class_accuracy(predicted, truth)
    most = 100 * torch.bincount(truth).max().item() / len(truth)
    print(
        f'{len(truth)} images, {len(names)} classes: top-1 {figures["top1"]:.1f} %, mean of classes '
        f'{figures["mean_class"]:.1f} % (chance {100 / len(names):.1f} %, the largest class {most:.1f} %)'
    )
    return figures | dict(images=len(truth), classes=names)


def classes_of_pixels(model, args: argparse.Namespace) -> dict:
    """Intersection over union, and the classes of boxes where they are known."""
    labelled = open_labelled(args.labelled, decoder=model.encoder.decoder)
    size = tuple(args.size or labelled.use_size())
    names = named(args.classes, labelled.classes, args.labelled)
    ids = [i for i, name in enumerate(names) if name != 'background']
    weights = classifier(model.texts, [spoken(names[i]) for i in ids], args.templates)
    shown = evenly(len(labelled.test), 16) if args.pictures else []
    found = segment(model, labelled.test, size, weights, ids, shown, args.batch_size)
    print(
        f'{len(labelled.test)} images at {size[0]} x {size[1]} pixels, {len(ids)} classes: mIoU '
        f'{found.segmentation.mean:.1f} % of the pixels that have a class'
    )
    if found.boxes:
        print(f'boxes: top-1 {found.boxes["top1"]:.1f} %, mean of classes {found.boxes["mean_class"]:.1f} %')
    if args.pictures:
        draw(found.maps, labelled.test.part(shown), size, names, Path(args.pictures))
    per_class = {names[i]: value for i, value in zip(ids, found.segmentation.per_class, strict=True)}
    return dict(miou=found.segmentation.mean, per_class=per_class, boxes=found.boxes)


def named(given: list[str] | None, known: list[str], where: str) -> list[str]:
    """The names of the command line, or else those of the data."""
    if given and len(given) != len(known):
        raise SystemExit(f'--classes has {len(given)} names, but {where} has {len(known)} classes; name each')
    return given or known


def draw(maps: torch.Tensor, part, size: tuple[int, int], names, folder: Path) -> None:
    """Truth, what was said where the truth has a class, and what was said everywhere."""
    from densecl.visualization.canvas import colors, save_image, side_by_side
    from densecl.visualization.predictions import draw_segmentation
    from densecl.visualization.views import as_picture

    palette, files = colors(len(names)), picture_names(part.images)
    for index, (images, labels) in enumerate(part.batches(size, 1)):
        image, truth, said = as_picture(images[0].numpy()), labels[0].numpy(), maps[index].numpy()
        known = np.isin(truth, [i for i, name in enumerate(names) if name != 'background'])
        tiles = [truth, np.where(known, said, IGNORED), said]
        tiles = [draw_segmentation(image, tile, names, palette) for tile in tiles]
        save_image(folder / files[index], side_by_side(tiles))
    print(f'{len(files)} pictures (truth, said where it has a class, said everywhere): {folder}')


if __name__ == '__main__':
    main()
