#!/usr/bin/env python
"""Look at what a pretraining puts in the place of what it does not see (MAE, SparK, SiT, colorization).

python tools/browse_reconstructions.py runs/spark/epoch_16.pth --photos my/photos

Beside each view it shows what the network sees of it, masked patches grey, and the view with these
predicted. Where the method normalises each patch by itself, the true patch lends its mean and variance; in
colorization the true view lends its lightness.
"""

import argparse

import numpy as np
import torch
from support.pretraining import load_pretraining, spread_samples

from densecl import visualization as vis
from densecl.engine.one_line import call
from densecl.models.pretrainers import Branch
from densecl.structures import Views
from densecl.transfer.mismatch import model_images


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a masked pretraining')
    parser.add_argument('--config', help='of the pretraining (that in the checkpoint)')
    parser.add_argument('--photos', help='folder of images (those of the pretraining)')
    parser.add_argument('--out', default='reconstructions.png', help='the picture (%(default)s)')
    parser.add_argument('--num', type=int, default=8, help='number of images (%(default)s)')
    parser.add_argument('--epoch', type=int, default=0, help='the epoch whose views and masks are drawn')
    return parser.parse_args()


def main() -> None:
    """Draw ``--num`` images, evenly spread over the dataset, a row each."""
    args = parse_args()
    model, dataset = load_pretraining(args)
    heads = {name: head for name, head in model.heads.items() if hasattr(head.target, 'images')}
    if not heads:
        raise SystemExit(
            f"{args.checkpoint}: no head with target=dict(type='Pixels') or ColorBins in {list(model.heads)}"
        )
    head = next(iter(heads.values()))
    rows = [reconstructed(model, head, sample) for sample in spread_samples(dataset, args.num, args.epoch)]
    print(vis.save_image(args.out, vis.stacked(rows)))


@torch.no_grad()
def reconstructed(model, head, sample) -> np.ndarray:
    """The first view that the head predicts: true, as it is seen, filled in."""
    views = model.data_preprocessor({'inputs': Views.collate([sample])}, False)['inputs']
    chosen = head.plan(len(views)).pairs[0].query
    units = head.read(Branch(model.encode, views, masked=True), head.projector, views, [chosen])[chosen]
    prediction = units.vectors.transpose(1, 2).unflatten(2, units.place.grid)
    images, replaced = views.images[chosen], views.replaced(chosen)
    norm = model_images(model)
    true, made, seen = (
        None if x is None else vis.displayable(x, norm['mean'], norm['std'])[0]
        for x in (images, head.target.images(prediction, images), replaced)
    )
    return vis.draw_reconstruction(true, views.masks[chosen][0], made, seen)


if __name__ == '__main__':
    call(main)
