"""Write the backbone of a run or checkpoint for those who will use it.

Of a run the weights that its guard chose are taken. A checkpoint that the guard found worse than the start
is refused, unless --force is given.
"""

import argparse
from collections import Counter
from pathlib import Path

_RECORDED = ('method', 'backbone', 'depth', 'stem', 'style', 'channel_order', 'mean', 'std', 'epoch')
_RECORDED_OF_VIT = ('embed_dim', 'num_heads', 'patch_size', 'image_size', 'norm_eps')
#: As ``densecl.transfer.dialects`` has them, which imports torch.
TARGETS = ('mmdet', 'mmseg', 'torchvision', 'timm', 'detectron2', 'safetensors', 'huggingface')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.add_argument('run_or_checkpoint', help='folder of a run, or a checkpoint of any common kind')
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
    parser.add_argument('--out', help='file to write (default: beside the checkpoint)')
    parser.add_argument(
        '--check', metavar='IMAGE', help='load the export again and compare features on this image'
    )
    parser.add_argument(
        '--force', action='store_true', help='also where the guard says that the start is better'
    )


def run(args: argparse.Namespace) -> int:
    """Export, say what went along and what stayed, and print the path."""
    from densecl.runs.export import export_checkpoint
    from densecl.runs.run import Run

    checkpoint = Path(args.run_or_checkpoint)
    if checkpoint.is_dir():
        done = Run(checkpoint)
        print(done.guard.get('told', f'no guard has watched {checkpoint}'))
        checkpoint = done.best
    elif not checkpoint.is_file():
        raise FileNotFoundError(f'{checkpoint}: no such run or checkpoint')
    done = export_checkpoint(checkpoint, args.out, args.to, args.branch, args.without, args.force)
    if done.refusal:
        print(f'warning: {done.refusal}')
    _report(done.export, done.weights)
    if args.check:
        _check(done, args.check)
    print(done.path)
    return 0


def _check(done, photo: str) -> None:
    """Compare features of source and export; beyond rounding, the export is unusable."""
    import torch

    from densecl.datasets import decode_image
    from densecl.inputs import parse_config
    from densecl.transfer import check_export
    from densecl.transfer.record import build_decoder, training_record

    weights, branch = done.weights, done.export['meta']['branch']
    config = parse_config(training_record(weights, weights.tensors, branch).get('config'))
    decode = build_decoder(config) or decode_image
    difference = check_export(weights, done.path, branch, torch.from_numpy(decode(photo)))
    print(f'features on {photo}: largest difference to the source {difference:.1e}')
    if difference > 1e-3:
        raise RuntimeError(f'{done.path} computes something else than {weights.source}; do not use it')


def _report(export: dict, weights) -> None:
    """What the export holds, how it was trained, and what of the checkpoint was left out."""
    tensors, meta = export['state_dict'], export['meta']
    count = sum(t.numel() for t in tensors.values())
    parts = Counter(_part(key) for key in tensors)
    held = ' and '.join(f'{n} {name}' for name, n in parts.items())
    print(f'{meta["branch"]} branch: {held} tensors, {count / 1e6:.2f} M values')
    for key in _RECORDED + tuple(key for key in _RECORDED_OF_VIT if key in meta):
        print(f'  {key:<13} {meta.get(key) if meta.get(key) is not None else "not recorded"}')
    groups = Counter(_group(key) for key in weights.tensors)
    print('in the checkpoint: ' + ', '.join(f'{g}.* {n}' for g, n in sorted(groups.items())[:12]))
    print(f'load it with: {meta["how_to_load"]}')


def _part(key: str) -> str:
    """What a tensor of an export belongs to."""
    if key.startswith(('neck.', 'backbone.fpn_')):
        return 'neck'
    return 'box head' if key.startswith(('roi_head.', 'roi_heads.')) else 'backbone'


def _group(key: str) -> str:
    """The part of a model that a key is of: ``backbone``, ``heads.dense``, ``target.heads`` ..."""
    parts = key.split('.')
    return '.'.join(parts[:2] if parts[0] in ('heads', 'target', 'module') else parts[:1])
