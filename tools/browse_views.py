#!/usr/bin/env python
"""Look at the views that a config makes of real images, and at what a model compares in them.

python tools/browse_views.py configs/quickstart/densecl_resnet18_sample.py
python tools/browse_views.py CONFIG --matches work_dirs/.../epoch_8.pth
python tools/browse_views.py configs/pixpro/pixpro_resnet18_1xb64-coslr-6e_photos.py --matches  # by location

Matches are lines between cells, a picture for each rule of the head; numbered boxes where regions (SCRL) or
windows (ReSim) are compared; one colour a slot where slots are (SlotCon). With ``--regions`` the regions
that the views carry (SoCo, DetCon, SCRL, ReSim) are drawn as boxes, each with its number in every view.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import densecl.compat

densecl.compat.install()

from mmengine.config import DictAction  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from torch import nn  # noqa: E402

from densecl import visualization as vis  # noqa: E402
from densecl.compat import load_checkpoint  # noqa: E402
from densecl.datasets import SampleKey  # noqa: E402
from densecl.engine.launch import read_config  # noqa: E402
from densecl.models.heads import DenseHead, RegionHead, SlotHead, WindowHead  # noqa: E402
from densecl.models.matching import match_by_similarity  # noqa: E402
from densecl.models.pretrainers import Branch  # noqa: E402
from densecl.registry import DATASETS, MODELS  # noqa: E402
from densecl.structures import ViewRegions, Views  # noqa: E402
from densecl.transfer import backbone_features, load_backbone  # noqa: E402
from densecl.transfer.mismatch import model_images  # noqa: E402


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
    cfg.merge_from_dict(args.cfg_options or {})
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
            originals.pop(), sample.boxes, sample.flipped, pictures, sample.source_size
        )
        vis.save_image(out / f'{name}.png', sheet)
        if args.regions:
            for region, sheet in regions_of(views, pictures):
                vis.save_image(out / f'{name}_{region}.png', sheet)
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
    norm = model_images(model)
    pictures = [vis.displayable(image, norm['mean'], norm['std'])[0] for image in views.images]
    return views, pictures


def regions_of(views, pictures) -> Iterator[tuple[str, np.ndarray]]:
    """Name of the regions, and the views that carry them, with these as numbered boxes."""
    if not views.regions:
        raise SystemExit(
            '--regions: the views of this config have no regions; MultiView makes them with '
            "regions=dict(name=dict(type='SelectBoxes')) or another selector"
        )
    for name, of_views in views.regions.items():
        shown = [
            (picture, ViewRegions(found.boxes[0], found.ids[0]))
            for picture, found in zip(pictures, of_views, strict=True)
            if found is not None
        ]
        yield name, vis.draw_objects(*map(list, zip(*shown, strict=True)))


def matching_head(model, name: str | None) -> nn.Module | None:
    """The head of this name, or the first one that matches anything; None where no head does."""
    kinds = DenseHead | RegionHead | SlotHead | WindowHead
    heads = {key: head for key, head in model.heads.items() if isinstance(head, kinds)}
    if name is None:
        return next(iter(heads.values()), None)
    if name not in heads:
        raise SystemExit(f'--head {name}: the heads that match anything are {list(heads) or "none"}')
    return heads[name]


def load(model, head, checkpoint: str) -> None:
    """The backbone, and the head where the file has it: some rules look at its projections."""
    print(load_backbone(model, checkpoint))
    if head is None:
        return
    prefix = next(f'heads.{name}.' for name, other in model.heads.items() if other is head)
    state = load_checkpoint(checkpoint)
    state = state.get('state_dict', {}) if isinstance(state, dict) else {}
    given = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    if given:
        head.load_state_dict(given)
    else:
        print(f'{checkpoint} has no {prefix}*: projections are those of untrained weights')


@torch.no_grad()
def matches(model, head, views, pictures, lines: int):
    """A picture of what is matched in the first two views, and rule -> distance in the original image."""
    boxes = torch.cat([box[:1] for box in views.boxes[:2]])
    flipped = torch.cat([flip[:1] for flip in views.flipped[:2]])
    if isinstance(head, RegionHead):
        return regions(head, views, pictures), {}
    if isinstance(head, WindowHead):
        return windows(head, views, pictures, lines), {}
    if isinstance(head, SlotHead):
        return slots(model, head, views, pictures, boxes, flipped)
    tiles, distances = [], {}
    for rule, (match, grids, cells) in matched_cells(model, head, views).items():
        cells = cells[:lines].tolist()
        distances[rule] = vis.match_distance(match, boxes, flipped, *grids)
        found = vis.draw_matches(*pictures[:2], match, *grids, cells)
        true = vis.draw_true_locations(*pictures[:2], boxes, flipped, grids[0], cells)
        text = '{}: {:.0f} px apart in the image, chance {:.0f} px'.format(rule, *distances[rule])
        if match.dtype == torch.bool:
            text += f'; {int(match.any(1).sum())} of {len(match)} have a match'
        tiles += [vis.titled(found, text), vis.titled(true, 'where these cells truly lie')]
    return vis.stacked(tiles), distances


def matched_cells(model, head, views) -> dict[str, tuple]:
    """For each rule of ``head`` what it says of the first two views: index (Nq,) or bool (Nq, Nk); the two
    grids; the cells of the query to draw, best first. Without a head: the most similar backbone features.

    Both views go through the online branch, in eval mode.
    """
    if head is None:
        query, key = (backbone_features(model, image)[-1] for image in views.images[:2])
        grids = tuple(query.shape[2:]), tuple(key.shape[2:])
        match = match_by_similarity(query, key)[0]
        return {'most similar features': (match, grids, best_cells(match, query, key))}
    query, key = head.units(Branch(model.encode, views), head.projector, views, [0, 1]).values()
    several = isinstance(head.matching, nn.ModuleList)
    found, grids = {}, (query.grid, key.grid)
    for number, rule in enumerate(head.matching if several else [head.matching]):
        name = f'{number} {type(rule).__name__}' if several else type(rule).__name__
        match = rule(query, key)[0]
        found[name] = match, grids, best_cells(match, query.features, key.features)
    return found


def best_cells(match, query, key):
    """Cells that have a match, the most similar first; of many matches a cell in a random, fixed order."""
    if match.dtype == torch.bool:
        cells = match.any(1).nonzero()[:, 0]
        return cells[torch.randperm(len(cells), generator=torch.Generator().manual_seed(0))]
    query, key = (nn.functional.normalize(m[0].flatten(1), dim=0) for m in (query, key))
    return (query * key[:, match]).sum(0).argsort(descending=True)


def regions(head, views, pictures) -> np.ndarray:
    """The regions that the head draws; all of a view where the two share too little."""
    placed, enough = head.draw(views)
    sheet = vis.draw_regions([pictures[v] for v in placed], [boxes[0] for boxes in placed.values()])
    return vis.titled(sheet, 'regions' if enough[0] else 'too little overlap for regions: skipped')


def windows(head, views, pictures, lines: int) -> np.ndarray:
    """Some windows that both views show, evenly spread, where they lie in each."""
    placed, inside = head.draw(views)
    shown = inside[0].nonzero()[:, 0]
    drawn = shown[np.linspace(0, len(shown) - 1, min(lines, len(shown))).astype(int)]
    sheet = vis.draw_objects(
        [pictures[view] for view in placed],
        [ViewRegions(boxes[0, drawn], drawn) for boxes in placed.values()],
    )
    return vis.titled(sheet, f'{len(shown)} of {inside.shape[1]} windows lie in both views')


def slots(model, head, views, pictures, boxes, flipped):
    """Both views beside themselves painted by the slot of each cell, and how far its cells lie apart."""
    groups = head.units(Branch(model.encode, views), head.projector, views, [0, 1]).values()
    scores = [group.scores[0] for group in groups]  # (K, h, w) each
    won = [score.argmax(0).flatten() for score in scores]
    areas = torch.cat(won).bincount()
    palette = vis.palette_of({slot: int(n) for slot, n in enumerate(areas) if n})
    tiles = [
        vis.draw_groups(picture, vis.assigned(score, picture.shape[:2]), palette)
        for picture, score in zip(pictures, scores, strict=False)
    ]
    match = won[0][:, None] == won[1]
    distance = vis.match_distance(match, boxes, flipped, *(tuple(s.shape[1:]) for s in scores))
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
    main()
