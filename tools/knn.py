#!/usr/bin/env python
"""Classify images by the nearest frozen features; with --linear also by a logistic regression on them.

python tools/knn.py work_dirs/.../epoch_8.pth --train data/train --test data/val
python tools/knn.py CHECKPOINT --train data/photos --leave-one-out
python tools/knn.py random --config CONFIG --train data/train --test data/val
"""

import argparse

import torch
from mmengine.registry import init_default_scope

import densecl.registry  # noqa: F401
from densecl.engine.launch import read_config
from densecl.engine.one_line import call
from densecl.evaluation import class_accuracy, knn_predict, linear_predict
from densecl.evaluation.features import (
    extract_features,
    labelled_images,
    load_encoder,
    random_encoder,
)
from densecl.files import write_json


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a pretraining, an export, or "random"')
    parser.add_argument('--config', help='whose backbone is built; that of the checkpoint by default')
    parser.add_argument('--branch', choices=('auto', 'online', 'target'), default='auto')
    parser.add_argument('--train', required=True, help='images of known class: one folder a class')
    parser.add_argument('--train-list', help='text file of paths below --train and class ids instead')
    parser.add_argument('--test', help='images to classify')
    parser.add_argument('--test-list', help='text file of paths below --test and class ids instead')
    parser.add_argument(
        '--leave-one-out', action='store_true', help='classify --train itself, each by the others'
    )
    parser.add_argument('--k', type=int, nargs='+', default=[1, 10, 20], help='neighbours that vote')
    parser.add_argument('--linear', action='store_true', help='a logistic regression too')
    parser.add_argument('--temperature', type=float, default=0.07, help='of the votes')
    parser.add_argument('--size', type=int, default=224, help='side of the centre crops in pixels')
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--seed', type=int, default=0, help='of "random"')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--out', help='json file of the figures')
    args = parser.parse_args()
    if args.leave_one_out == bool(args.test):
        parser.error('give either --test or --leave-one-out')
    if args.linear and args.leave_one_out:
        parser.error('--linear learns from --train and needs --test')
    if args.checkpoint == 'random' and not args.config:
        parser.error('"random" needs --config, whose backbone is built')
    return args


def main() -> None:
    """Extract features, classify, print the accuracies."""
    args = parse_args()
    init_default_scope('densecl')
    config = read_config(args.config) if args.config else None
    if args.checkpoint == 'random':
        encoder = random_encoder(config, args.seed)
    else:
        encoder = load_encoder(args.checkpoint, args.branch, config)
    encoder = encoder.to(args.device, memory_format=torch.channels_last)
    train = labelled_images(args.train, args.train_list, args.size, encoder.decoder)
    test = train
    if not args.leave_one_out:
        test = labelled_images(args.test, args.test_list, args.size, encoder.decoder)
    check_classes(train, test)
    bank, classes = extract_features(encoder, train, args.batch_size, args.workers)
    queries, truth = bank, classes
    if test is not train:
        queries, truth = extract_features(encoder, test, args.batch_size, args.workers)
    device = args.device
    predicted = knn_predict(
        queries.to(device), bank.to(device), classes, args.k, args.temperature, args.leave_one_out
    )
    predicted = {k: found.cpu() for k, found in predicted.items()}
    figures = {k: class_accuracy(found, truth) for k, found in predicted.items()}
    linear = None
    if args.linear:
        linear = class_accuracy(linear_predict(queries.to(device), bank.to(device), classes).cpu(), truth)
    counts = dict(train=len(bank), test=len(queries), classes=int(classes.unique().numel()))
    report(figures, linear, counts, bank.shape[1])
    if args.out:
        save(args, figures, linear, counts)


def check_classes(train, test) -> None:
    """Class ids number sorted folders, so that both sets need the same folders."""
    names, others = (set(d.metainfo.get('classes', ())) for d in (train, test))
    if names != others and names and others:
        odd = sorted(names ^ others)
        raise ValueError(f'--train and --test need the same class folders; only one has {", ".join(odd[:5])}')


def report(figures: dict, linear: dict | None, counts: dict, channels: int) -> None:
    """Print a line a k, and one of the linear classifier."""
    print(f'{counts["test"]} images by {counts["train"]}, {counts["classes"]} classes, {channels} channels')
    lines = {f'k = {k:<3}': values for k, values in figures.items()} | ({'linear ': linear} if linear else {})
    for name, values in lines.items():
        print(f'{name} top-1 {values["top1"]:6.2f} %   mean of classes {values["mean_class"]:6.2f} %')


def save(args: argparse.Namespace, figures: dict, linear: dict | None, counts: dict) -> None:
    """Write the figures and what they are of."""
    kept = ('checkpoint', 'config', 'branch', 'temperature', 'size', 'seed', 'leave_one_out')
    content = {name: getattr(args, name) for name in kept} | counts | {'knn': figures, 'linear': linear}
    write_json(args.out, content)


if __name__ == '__main__':
    call(main)
