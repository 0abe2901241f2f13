"""Arguments that several commands share."""

import argparse

#: Flags that are settings of the model.
_FLAGS = {
    'checkpoint_activations': 'model.checkpoint_activations',
    'compile': 'model.compile_backbone',
}


def add_pretraining(parser: argparse.ArgumentParser) -> None:
    """What ``pretrain`` and ``plan`` ask for."""
    parser.add_argument('photos', nargs='+', help='folders of images, in any tree below them')
    parser.add_argument('--out', default='runs/pretrain', help='folder of the run (%(default)s)')
    parser.add_argument(
        '--start',
        help='weights to go on from: a file, imagenet, torchvision:NAME (torchvision:resnet50), timm:NAME, '
        'or random (default: imagenet where these weights are installed)',
    )
    parser.add_argument(
        '--hours', type=positive, help='budget (default: what the rules think best, at most 2)'
    )
    parser.add_argument(
        '--method',
        help='pixpro, mocov2, ... (default: anchor where it goes on from weights, densecl from random ones); '
        'docs/methods.md explains them',
    )
    parser.add_argument('--size', type=positive_int, help='side of the views in pixels')
    parser.add_argument(
        '--estimate', action='store_true', help='take the speed from a table instead of timing two steps'
    )
    parser.add_argument(
        '--checkpoint-activations', action='store_true', help='less memory: blocks are computed again'
    )
    parser.add_argument('--compile', action='store_true', help='run the backbones through torch.compile')
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Changes of a config, ``--cfg-options KEY=VALUE``, parsed when the command runs."""
    parser.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE', help='settings of the config that you set yourself'
    )


def parsed_options(args: argparse.Namespace) -> dict | None:
    """What the flags of the backbone and ``--cfg-options`` set, None where that is nothing."""
    settings = {name: True for flag, name in _FLAGS.items() if getattr(args, flag, False)}
    return settings | (parsed_pairs(args.cfg_options, '--cfg-options') or {}) or None


def parsed_pairs(entries: list[str] | None, name: str) -> dict | None:
    """The entries of an argument ``name`` as a dict, None where there are none.

    Raises:
        ValueError: an entry is not of the form KEY=VALUE.
    """
    if not entries:
        return None
    from mmengine.config import DictAction

    pairs = [entry.partition('=') for entry in entries]
    for key, sign, _ in pairs:
        if not (key and sign):
            raise ValueError(f'{name} takes KEY=VALUE, got {key}')
    return {key: DictAction._parse_iterable(value) for key, _, value in pairs}


def positive(text: str) -> float:
    """A number above 0."""
    return _above_zero(float(text))


def positive_int(text: str) -> int:
    """A whole number above 0."""
    return _above_zero(int(text))


def _above_zero(value):
    if not value > 0:
        raise argparse.ArgumentTypeError(f'must be above 0, got {value:g}')
    return value
