#!/usr/bin/env python
"""Export a pretrained backbone: ``python tools/export.py CHECKPOINT --to mmdet``."""

import argparse
from collections import Counter
from pathlib import Path

import torch

import densecl.compat

densecl.compat.install()

from densecl.datasets import decode_image  # noqa: E402
from densecl.engine.one_line import call  # noqa: E402
from densecl.evaluation.guard import export_refusal  # noqa: E402
from densecl.inputs import parse_config  # noqa: E402
from densecl.transfer import check_export, export_backbone, read_weights, save_export  # noqa: E402
from densecl.transfer.dialects import TARGETS  # noqa: E402
from densecl.transfer.export import SUFFIXES  # noqa: E402
from densecl.transfer.record import build_decoder, training_record  # noqa: E402

RECORDED_OF_VIT = ('embed_dim', 'num_heads', 'patch_size', 'image_size', 'norm_eps')
RECORDED = ('method', 'backbone', 'depth', 'stem', 'style', 'channel_order', 'mean', 'std', 'epoch')


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='a checkpoint of densecl, or of another project')
    parser.add_argument('--to', choices=TARGETS, default='mmdet', help='who will load it')
    parser.add_argument(
        '--branch',
        choices=('auto', 'online', 'target'),
        default='auto',
        help='auto: the one that the method evaluates, online for nearly all',
    )
    parser.add_argument(
        '--without',
        metavar='REGEX',
        help="leave these behind, by the beginning of their names in mmdet: 'neck|roi_head', 'roi_head.*fcs'",
    )
    parser.add_argument('--out', help='default: beside the checkpoint, <name>_<branch>_<to>.pth')
    parser.add_argument(
        '--check', metavar='IMAGE', help='load the export again and compare features on this image'
    )
    parser.add_argument(
        '--force', action='store_true', help='also where the guard of the run found it worse than its start'
    )
    return parser.parse_args()


def main() -> None:
    """Export, say what went along and what stayed, and print the path."""
    args = parse_args()
    weights = read_weights(args.checkpoint)
    refusal = export_refusal(args.checkpoint, weights.meta.get('iter'))
    if refusal and not args.force:
        raise SystemExit(refusal)
    if refusal:
        print(f'warning: {refusal}')
    export = export_backbone(weights, args.to, args.branch, args.without)
    checkpoint = Path(args.checkpoint)
    branch = export['meta']['branch']
    name = f'{checkpoint.stem}_{branch}_{args.to}{SUFFIXES.get(args.to, ".pth")}'
    report(export, weights)
    out = save_export(export, args.out or checkpoint.with_name(name))
    if args.check:
        check(weights, out, branch, args.check)
    print(out)


def check(weights, out: Path, branch: str, path: str) -> None:
    """Compare features of source and export; beyond rounding, the export is unusable."""
    config = parse_config(training_record(weights, weights.tensors, branch).get('config'))
    decode = build_decoder(config) or decode_image
    image = torch.from_numpy(decode(path))
    difference = check_export(weights, out, branch, image)
    print(f'features on {path}: largest difference to the source {difference:.1e}')
    if difference > 1e-3:
        raise RuntimeError(f'{out} computes something else than {weights.source}; do not use it')


def report(export: dict, weights) -> None:
    """What the export holds, how it was trained, and what of the checkpoint was left out."""
    tensors, meta = export['state_dict'], export['meta']
    count = sum(t.numel() for t in tensors.values())
    parts = Counter(part(key) for key in tensors)
    held = ' and '.join(f'{n} {name}' for name, n in parts.items())
    print(f'{meta["branch"]} branch: {held} tensors, {count / 1e6:.2f} M values')
    for key in RECORDED + tuple(key for key in RECORDED_OF_VIT if key in meta):
        print(f'  {key:<13} {meta.get(key) if meta.get(key) is not None else "not recorded"}')
    groups = Counter(group(key) for key in weights.tensors)
    print('in the checkpoint: ' + ', '.join(f'{g}.* {n}' for g, n in sorted(groups.items())[:12]))
    print(f'load it with: {meta["how_to_load"]}')


def part(key: str) -> str:
    """What a tensor of an export belongs to."""
    if key.startswith(('neck.', 'backbone.fpn_')):
        return 'neck'
    return 'box head' if key.startswith(('roi_head.', 'roi_heads.')) else 'backbone'


def group(key: str) -> str:
    """The part of a model that a key is of: ``backbone``, ``heads.dense``, ``target.heads`` ..."""
    parts = key.split('.')
    return '.'.join(parts[:2] if parts[0] in ('heads', 'target', 'module') else parts[:1])


if __name__ == '__main__':
    call(main)
