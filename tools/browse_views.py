#!/usr/bin/env python
"""Look at the views that a config makes of real images, and at what a model compares in them.

python tools/browse_views.py configs/quickstart/densecl_resnet18_sample.py
python tools/browse_views.py CONFIG --matches work_dirs/.../epoch_8.pth
python tools/browse_views.py configs/pixpro/pixpro_resnet18_1xb64-coslr-6e_photos.py --matches  # by location

Matches are lines between cells, a picture for each rule of the head; numbered boxes where boxes are compared
(SCRL, ReSim, SoCo); one colour a slot where slots are (SlotCon). With ``--regions`` all that the views carry
are drawn as boxes, a region with the same number in every view. Masked patches are grey.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from mmengine.config import DictAction
from mmengine.registry import init_default_scope
from torch import nn

from densecl import visualization as vis
from densecl.compat import load_checkpoint
from densecl.datasets import SampleKey
from densecl.engine.fields import merge_options
from densecl.engine.launch import read_config
from densecl.engine.one_line import call
from densecl.models.heads.units.base import kind_of
from densecl.models.matching import match_by_similarity
from densecl.models.pretrainers import Branch
from densecl.registry import DATASETS, MODELS
from densecl.structures import Batch, ViewRegions, Views
from densecl.transfer import backbone_features, load_backbone
from densecl.transfer.mismatch import model_images


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of a pretraining')
    parser.add_argument('--out', help='folder of the pictures (work_dirs/<config name>/views)')
    parser.add_argument('--num', type=int, default=8, help='number of images')
    parser.add_argument('--epoch', type=int, default=0, help='the epoch whose views are drawn')
    parser.add_argument(
        '--matches',
        metavar='CHECKPOINT',
        nargs='?',
        const='',
        help='draw what is matched as well; without a checkpoint by untrained weights',
    )
    parser.add_argument('--regions', action='store_true', help='draw the regions of the views as well')
    parser.add_argument('--head', help='whose matches (the first head that has any)')
    parser.add_argument(
        '--lines',
        type=int,
        default=12,
        help='cells or windows drawn: the most similar cells, or evenly spread ones',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override settings, key=value ...'
    )
    return parser.parse_args()


def main() -> None:
    """Draw ``--num`` images, evenly spread over the dataset."""
    args = parse_args()
    cfg = read_config(args.config)
    merge_options(cfg, args.cfg_options or {})
    init_default_scope(cfg.get('default_scope', 'densecl'))
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    originals: list[np.ndarray] = []
    dataset.transforms.insert(0, lambda results: originals.append(results['image']) or results)
    model = MODELS.build(cfg.model).eval()
    head = matching_head(model, args.head) if args.matches is not None else None
    if args.matches:
        load(model, head, args.matches)
    out = Path(args.out or Path('work_dirs') / Path(args.config).stem / 'views')
    distances = {}
    for index in np.linspace(0, len(dataset) - 1, min(args.num, len(dataset))).astype(int):
        sample = dataset[SampleKey(args.epoch, int(index))]
        name = f'{index:06d}_{Path(sample.path).stem}'
        views, pictures = seen_by(model, sample)
        sheet = vis.draw_views(
            vis.as_picture(originals.pop(), *limits(model)),
            sample.boxes,
            sample.flipped,
            masked(views, pictures),
            sample.source_size,
            warps=sample.warps,
        )
        vis.save_image(out / f'{name}.png', sheet)
        if args.regions:
            vis.save_image(out / f'{name}_regions.png', regions(views, pictures))
        if args.matches is not None:
            sheet, found = matches(model, head, views, pictures, args.lines)
            vis.save_image(out / f'{name}_matches.png', sheet)
            for rule, distance in found.items():
                distances.setdefault(rule, []).append(distance)
    for rule, found in distances.items():
        print_distances(rule, found)
    print(out)


def seen_by(model, sample) -> tuple[Views, list[np.ndarray]]:
    """The views as the network gets them, a batch of one image, and as pictures (H, W, 3)."""
    views = model.data_preprocessor({'inputs': Views.collate([sample])}, True)['inputs']
    if model.view_maker is not None:
        with torch.no_grad():
            views = model.view_maker.perturbed(views, model.step)
    norm = model_images(model)
    pictures = [
        vis.displayable(image, norm['mean'], norm['std'], *limits(model))[0] for image in views.images
    ]
    return views, pictures


def masked(views, pictures) -> list[np.ndarray]:
    """The pictures, masked patches grey."""
    masks = views.masks or [None] * len(pictures)
    pairs = zip(pictures, masks, strict=True)
    return [picture if mask is None else vis.hide_masked(picture, mask[0]) for picture, mask in pairs]


def limits(model) -> tuple:
    """Black and white of each channel, where the images are not RGB."""
    return model.data_preprocessor.low, model.data_preprocessor.high


def regions(views, pictures) -> np.ndarray:
    """The views with their regions as numbered boxes, a row a name."""
    rows = []
    for name, of_views in (views.regions or {}).items():
        shown = [
            (picture, ViewRegions(of_view.boxes[0], of_view.ids[0]))
            for picture, of_view in zip(pictures, of_views, strict=True)
            if of_view is not None
        ]
        rows.append(vis.titled(vis.draw_objects(*map(list, zip(*shown, strict=True))), name))
    if not rows:
        raise SystemExit(
            '--regions: the views of this config have none; MultiView makes them with '
            "regions=dict(objects=dict(type='SelectBoxes')), from the data set's proposals=dict(type=...)"
        )
    return vis.stacked(rows)


def matching_head(model, name: str | None) -> nn.Module | None:
    """The head of this name, or the first one that compares more than whole images; None where none does."""
    heads = {key: head for key, head in model.heads.items() if 'place' in head.units.gives}
    if name is None:
        return next(iter(heads.values()), None)
    if name not in heads:
        raise SystemExit(f'--head {name}: the heads that match anything are {list(heads) or "none"}')
    return heads[name]


def load(model, head, checkpoint: str) -> None:
    """The backbone; view maker and head where the file has them: some rules look at a head's projections."""
    print(load_backbone(model, checkpoint))
    parts = {f'heads.{name}.': other for name, other in model.heads.items() if other is head}
    if model.view_maker is not None:
        parts['view_maker.'] = model.view_maker
    state = load_checkpoint(checkpoint) if parts else {}
    state = state.get('state_dict', {}) if isinstance(state, dict) else {}
    for prefix, part in parts.items():
        given = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if not given:
            print(f'{checkpoint} has no {prefix}*: its weights are untrained')
            continue
        own = part.state_dict()
        fits = {k: v for k, v in given.items() if k in own and v.shape == own[k].shape}
        # An objective's queue, which may be of another length, finds no matches.
        if other := [k for k in own if k not in fits and not k.startswith('objective.')]:
            said = f'{prefix}{other[0]} is missing or of another size; give the config of its run'
            raise ValueError(f'{checkpoint}: {said}')
        part.load_state_dict(fits, strict=False)


@torch.no_grad()
def matches(model, head, views, pictures, lines: int):
    """A picture of what is matched in the first two views, and rule -> distance in the original image.

    Both views go through the online branch, in eval mode. Without a head: the most similar backbone features.
    """
    if head is None:
        query, key = (backbone_features(model, image)[-1] for image in views.images[:2])
        grids = tuple(query.shape[2:]), tuple(key.shape[2:])
        match = match_by_similarity(query, key)[0]
        rows = [x[0].flatten(1).T for x in (query, key)]
        cells = best_cells(match, *rows)
        return cell_matches(views, pictures, {'most similar features': (match, grids, cells)}, lines)
    pair = head.plan(len(views)).pairs[0]
    sets = head.read(Branch(model.encode, views), head.projector, views, {pair.query, pair.key})
    query, key = sets[pair.query], sets[pair.key]
    if query.place.boxes is None and 'scores' in head.units.gives:
        return slots(query, key, views, pictures)
    rules = head.rules[kind_of(pair.query)]
    names = [type(rule).__name__ for rule in rules]
    names = [f'{i} {name}' for i, name in enumerate(names)] if len(names) > 1 else names
    found = {name: said_by(rule, query, key, views) for name, rule in zip(names, rules, strict=True)}
    if query.place.boxes is not None:
        return vis.stacked([matched_boxes(n, m, query, key, pictures, lines) for n, m in found.items()]), {}
    grids = query.place.grid, key.place.grid
    drawn = {n: (m, grids, best_cells(m, query.features[0], key.features[0])) for n, m in found.items()}
    return cell_matches(views, pictures, drawn, lines)


def said_by(rule, query, key, views) -> torch.Tensor:
    """What a rule says of one image: index (N,) or bool (N, M)."""
    match = rule(query, key, Batch.of(views))
    if match.read is None:
        plain = match.mask is None and match.valid is None
        return match.index[0] if plain else match.answers(len(key.vectors[0]))[0]
    rows = [torch.arange(u.vectors.shape[1])[None] for u in (query, key)]
    chosen = match.read(*(replace(u, ids=r) for u, r in zip((query, key), rows, strict=True)))
    mask = torch.zeros(len(rows[0][0]), len(rows[1][0]), dtype=torch.bool)
    mask[chosen[0].ids[0], chosen[1].ids[0]] = True
    return mask


def cell_matches(views, pictures, found: dict[str, tuple], lines: int):
    """Lines between matched cells, above lines to where these cells truly lie; and the distances.

    ``found`` has for each rule its answer, the two grids, and the cells of the query to draw, best first.
    """
    boxes = torch.cat([box[:1] for box in views.boxes[:2]])
    flipped = torch.cat([flip[:1] for flip in views.flipped[:2]])
    warps = views.warp(0), views.warp(1)
    tiles, distances = [], {}
    for rule, (match, grids, cells) in found.items():
        cells = cells[:lines].tolist()
        distances[rule] = vis.match_distance(match, boxes, flipped, *grids, warps)
        drawn = vis.draw_matches(*pictures[:2], match, *grids, cells)
        true = vis.draw_true_locations(*pictures[:2], boxes, flipped, grids[0], cells, warps=warps)
        text = '{}: {:.0f} px apart in the image, chance {:.0f} px'.format(rule, *distances[rule])
        if match.dtype == torch.bool:
            text += f'; {int(match.any(1).sum())} of {len(match)} have a match'
        tiles += [vis.titled(drawn, text), vis.titled(true, 'where these cells truly lie')]
    return vis.stacked(tiles), distances


def matched_boxes(rule: str, match, query, key, pictures, lines: int) -> np.ndarray:
    """Some boxes that have an answer, evenly spread, where they lie in each view."""
    match = match if match.dtype == torch.bool else nn.functional.one_hot(match, len(key.vectors[0])).bool()
    found = match.any(1).nonzero()[:, 0]
    drawn = found[np.linspace(0, len(found) - 1, min(lines, len(found))).astype(int)]
    answers = match[drawn].int().argmax(1)
    boxes = [query.place.boxes[0, drawn], key.place.boxes[0, answers]]
    sheet = vis.draw_objects(pictures[:2], [ViewRegions(b, torch.arange(len(drawn))) for b in boxes])
    return vis.titled(sheet, f'{rule}: {len(found)} of {len(match)} boxes have an answer')


def best_cells(match, query, key):
    """Cells that have a match, the most similar first; of many matches a cell in a random, fixed order.

    ``query`` and ``key`` are the (N, C) and (M, C) features of the cells.
    """
    if match.dtype == torch.bool:
        cells = match.any(1).nonzero()[:, 0]
        return cells[torch.randperm(len(cells), generator=torch.Generator().manual_seed(0))]
    query, key = (nn.functional.normalize(rows, dim=1) for rows in (query, key))
    return (query * key[match]).sum(1).argsort(descending=True)


def slots(query, key, views, pictures):
    """Both views beside themselves painted by the slot of each cell, and how far its cells lie apart."""
    boxes = torch.cat([box[:1] for box in views.boxes[:2]])
    flipped = torch.cat([flip[:1] for flip in views.flipped[:2]])
    scores = [u.vectors[0].T.unflatten(1, u.place.grid) for u in (query, key)]  # (K, h, w) each
    won = [score.argmax(0).flatten() for score in scores]
    areas = torch.cat(won).bincount()
    palette = vis.palette_of({slot: int(n) for slot, n in enumerate(areas) if n})
    tiles = [
        vis.draw_groups(picture, vis.assigned(score, picture.shape[:2]), palette)
        for picture, score in zip(pictures, scores, strict=False)
    ]
    match, warps = won[0][:, None] == won[1], (views.warp(0), views.warp(1))
    distance = vis.match_distance(match, boxes, flipped, *(tuple(s.shape[1:]) for s in scores), warps)
    text = 'same slot: {:.0f} px apart in the image, chance {:.0f} px'.format(*distance)
    return vis.titled(vis.stacked(tiles), text), {'same slot': distance}


def print_distances(rule: str, distances: list[tuple[float, float, int]]) -> None:
    """Means over all cells of all images that the second view shows."""
    counts = np.array([count for *_, count in distances])
    values = np.nan_to_num(np.array([pair[:2] for pair in distances]))
    matched, chance = (values * counts[:, None]).sum(0) / max(counts.sum(), 1)
    print(
        f'{rule}: {counts.sum()} cells of {len(distances)} pairs lie in both views; matched cells are '
        f'{matched:.1f} px apart in the original image, cells drawn at random {chance:.1f} px '
        f'({matched / max(chance, 1e-9):.2f})'
    )


if __name__ == '__main__':
    call(main)
