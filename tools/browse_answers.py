#!/usr/bin/env python
"""Ask a checkpoint the question of its pretext task, and look at right and given answers.

python tools/browse_answers.py runs/rotation/epoch_6.pth --photos other/photos

It says how many of --asked answers are right; the picture has the first --num, each beside its question: a
turned photo turned back, a puzzle put together, the second patch of a pair put beside the first. Green is
right.
"""

import argparse

import numpy as np
import torch
from support.pretraining import load_pretraining, spread_samples

from densecl import visualization as vis
from densecl.datasets.transforms import ContextPairs, JigsawPatches, RotatedView
from densecl.datasets.transforms.context import NEIGHBOURS
from densecl.engine.one_line import call
from densecl.models.pretrainers import Branch
from densecl.models.targets import Known
from densecl.structures import Views
from densecl.transfer.mismatch import model_images


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of rotation, jigsaw or context prediction')
    parser.add_argument('--config', help='of the pretraining (that in the checkpoint)')
    parser.add_argument('--photos', help='folder of images (those of the pretraining)')
    parser.add_argument('--out', default='answers.jpg', help='the picture (%(default)s)')
    parser.add_argument('--num', type=int, default=12, help='answers in the picture (%(default)s)')
    parser.add_argument('--columns', type=int, default=3, help='answers side by side (%(default)s)')
    parser.add_argument('--asked', type=int, default=200, help='photos that are asked about (%(default)s)')
    parser.add_argument('--surest', action='store_true', help='show the answers with the largest share')
    parser.add_argument('--epoch', type=int, default=0, help='the epoch whose views are drawn')
    return parser.parse_args()


def main() -> None:
    """Ask, count, draw."""
    args = parse_args()
    model, dataset = load_pretraining(args)
    heads = [head for head in model.heads.values() if isinstance(head.target, Known)]
    recipes = [r for t in dataset.transforms for r in getattr(t, 'recipes', [])]
    known = [r for r in recipes if isinstance(r, RotatedView | JigsawPatches | ContextPairs)]
    if not heads or not known:
        raise SystemExit(
            f"{args.checkpoint}: no head with target=dict(type='Known') that is asked about rotations, "
            'puzzles or pairs of patches'
        )
    right, pictures = 0, []
    for sample in spread_samples(dataset, args.asked, args.epoch):
        answer, given, sure, views = asks(model, heads[0], sample)
        right += answer == given
        pictures.append((sure if args.surest else 0.0, drawn(known[0], views, answer, given)))
    shown = [picture for _, picture in sorted(pictures, key=lambda pair: -pair[0])][: args.num]
    rows = [shown[i : i + args.columns] for i in range(0, len(shown), args.columns)]
    print(vis.save_image(args.out, vis.stacked([vis.side_by_side(row, gap=16) for row in rows], gap=10)))
    asked = len(pictures)
    share = right / asked
    error = (share * (1 - share) / asked) ** 0.5
    print(f'{right} of {asked} right: {100 * share:.1f} % +- {100 * error:.1f}')


@torch.no_grad()
def asks(model, head, sample) -> tuple[int, int, float, list[np.ndarray]]:
    """Right answer, given answer, its share of the softmax, and the views of the head's first pair."""
    views = model.data_preprocessor({'inputs': Views.collate([sample])}, False)['inputs']
    chosen = head.plan(len(views)).pairs[0].query
    units = head.read(Branch(model.encode, views), head.projector, views, [chosen])[chosen]
    norm, numbers = model_images(model), head.units.views_of(chosen)
    shown = [vis.displayable(views.images[v], norm['mean'], norm['std'])[0] for v in numbers]
    sure, given = units.vectors.flatten().softmax(0).max(0)
    return int(views.answers[numbers[-1], 0]), int(given), float(sure), shown


def drawn(recipe, views: list[np.ndarray], right: int, given: int) -> np.ndarray:
    """Question and answer."""
    if isinstance(recipe, RotatedView):
        return vis.draw_turn(views[0], right, given)
    if isinstance(recipe, JigsawPatches):
        return vis.draw_puzzle(views, recipe.permutations[right], recipe.permutations[given])
    return vis.draw_pair(*views, NEIGHBOURS[right], NEIGHBOURS[given])


if __name__ == '__main__':
    call(main)
