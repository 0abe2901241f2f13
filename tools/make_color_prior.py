#!/usr/bin/env python
"""Count the colours of the training views of a config: the files that ColorBins balances its classes by.

python tools/make_color_prior.py configs/colorization/colorization_resnet18_1xb64-coslr-16e_photos.py \
    --cfg-options train_dataloader.dataset.data_root=my/photos

The shares that the bins have of each cell are averaged over all cells of images with colours. The Gaussian of
these shares is the smoothing of the counts that Zhang et al. (2016) ask for.
"""

import argparse

import torch
from mmengine.config import DictAction
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from densecl.engine.launch import load_config
from densecl.engine.one_line import call
from densecl.files import atomic_write
from densecl.models.targets import ColorBins
from densecl.registry import MODELS


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'config', help="of a pretraining with a head of target=dict(type='ColorBins', file=...)"
    )
    parser.add_argument('--images', type=int, default=2000, help='number of views read (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of their choice')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value, as in training')
    return parser.parse_args()


def main() -> None:
    """Build the model for its target and its normalisation, and run the training loader once."""
    args = parse_args()
    cfg = load_config(args.config, None, args.cfg_options, 'none')
    init_default_scope('densecl')
    model = MODELS.build(cfg.model)
    heads = {h.target.file: h for h in model.heads.values() if isinstance(h.target, ColorBins)}
    heads.pop(None, None)
    if not heads:
        raise SystemExit(
            "make_color_prior: no head of this config has target=dict(type='ColorBins', file=...)"
        )
    images = dict.fromkeys(heads, 0)
    totals = {file: torch.zeros_like(head.target.prior, dtype=torch.float64) for file, head in heads.items()}
    for batch in Runner.build_dataloader(cfg.train_dataloader, seed=args.seed):
        views = model.data_preprocessor(batch)['inputs']
        for file, head in heads.items():
            for view in head.needed(len(views))['target']:
                shares, _, colored = head.target.shares(views.images[view])
                totals[file] += shares[colored].sum((0, 2, 3)).double()
                images[file] += int(colored.sum())
        if min(images.values()) >= args.images:
            break
    for file, head in heads.items():
        if not images[file]:
            raise SystemExit(f'make_color_prior: {file}: none of the images has colours')
        target = head.target
        target.prior.copy_(totals[file] / totals[file].sum())
        with atomic_write(file) as temporary:
            torch.save(dict(state_dict=target.state_dict(), meta=dict(config=cfg.pretty_text)), temporary)
        print(f'{file}: {said(target.prior)}; of {images[file]} images with colours')


def said(prior: torch.Tensor) -> str:
    """How even the colours are."""
    even = torch.special.entr(prior).sum().exp()
    return f'the colours are as even as {even:.0f} equally frequent bins of {len(prior)}'


if __name__ == '__main__':
    call(main)
