#!/usr/bin/env python
"""Look at the views that a config makes of real images, and at the cells that a model matches.

python tools/browse_views.py configs/quickstart/densecl_resnet18_sample.py
python tools/browse_views.py CONFIG --matches work_dirs/.../epoch_8.pth
python tools/browse_views.py configs/pixpro/pixpro_resnet18_1xb64-coslr-6e_photos.py --matches  # by location
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import densecl.compat

densecl.compat.install()

from mmengine.config import DictAction  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402

from densecl import visualization as vis  # noqa: E402
from densecl.datasets import SampleKey  # noqa: E402
from densecl.engine.launch import read_config  # noqa: E402
from densecl.models.heads import DenseHead  # noqa: E402
from densecl.models.matching import match_by_similarity  # noqa: E402
from densecl.models.pretrainers import Branch  # noqa: E402
from densecl.registry import DATASETS, MODELS  # noqa: E402
from densecl.structures import Views  # noqa: E402
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
        help='draw the matched cells as well; without a checkpoint those of untrained weights',
    )
    parser.add_argument('--head', help='whose matches (the first head that matches cells)')
    parser.add_argument(
        '--lines', type=int, default=12, help='cells drawn: the most similar, or evenly spread ones'
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
    if args.matches:
        print(load_backbone(model, args.matches))
    head = matching_head(model, args.head) if args.matches is not None else None
    out = Path(args.out or Path('work_dirs') / Path(args.config).stem / 'views')
    distances = []
    for index in np.linspace(0, len(dataset) - 1, min(args.num, len(dataset))).astype(int):
        sample = dataset[SampleKey(args.epoch, int(index))]
        name = f'{index:06d}_{Path(sample.path).stem}'
        views, pictures = seen_by(model, sample)
        sheet = vis.draw_views(
            originals.pop(), sample.boxes, sample.flipped, pictures, sample.source_size
        )
        vis.save_image(out / f'{name}.png', sheet)
        if args.matches is not None:
            sheet, distance = matches(model, head, views, pictures, args.lines)
            vis.save_image(out / f'{name}_matches.png', sheet)
            distances.append(distance)
    if distances:
        print_distances(distances)
    print(out)


def seen_by(model, sample) -> tuple[Views, list[np.ndarray]]:
    """The views as the network gets them, a batch of one image, and as pictures (H, W, 3)."""
    views = model.data_preprocessor({'inputs': Views.collate([sample])}, True)['inputs']
    norm = model_images(model)
    pictures = [vis.displayable(image, norm['mean'], norm['std'])[0] for image in views.images]
    return views, pictures


def matching_head(model, name: str | None) -> DenseHead | None:
    """The head of this name, or the first one that matches cells; None where no head does."""
    heads = {key: head for key, head in model.heads.items() if isinstance(head, DenseHead)}
    if name is None:
        return next(iter(heads.values()), None)
    if name not in heads:
        raise SystemExit(f'--head {name}: heads that match cells are {list(heads) or "none"}')
    return heads[name]


@torch.no_grad()
def matched_cells(model, head, views):
    """What the rule of ``head`` says of the first two views: index (Nq,) or bool (Nq, Nk); the two grids;
    the cells of the query to draw, best first. Without a head: the most similar backbone features.

    Both views go through the online branch, in eval mode.
    """
    if head is None:
        query, key = (backbone_features(model, image)[-1] for image in views.images[:2])
        match = match_by_similarity(query, key)[0]
    else:
        maps = head.units(Branch(model.encode, views), head.projector, views, [0, 1])
        match = head.matching(maps[0], maps[1])[0]
        query, key = maps[0].features, maps[1].features
    grids = tuple(query.shape[2:]), tuple(key.shape[2:])
    if match.dtype == torch.bool:  # matched cells, far from one another in the list first
        found = match.any(1).nonzero()[:, 0]
        return match, grids, found[torch.randperm(len(found), generator=torch.Generator().manual_seed(0))]
    query, key = (torch.nn.functional.normalize(m[0].flatten(1), dim=0) for m in (query, key))
    return match, grids, (query * key[:, match]).sum(0).argsort(descending=True)


def matches(model, head, views, pictures, lines):
    """The picture of the first two views' matched cells, and their distance in the original image."""
    match, grids, cells = matched_cells(model, head, views)
    cells = cells[:lines].tolist()
    boxes = torch.cat([box[:1] for box in views.boxes[:2]])
    flipped = torch.cat([flip[:1] for flip in views.flipped[:2]])
    found = vis.draw_matches(*pictures[:2], match, *grids, cells)
    true = vis.draw_true_locations(*pictures[:2], boxes, flipped, grids[0], cells)
    distance = vis.match_distance(match, boxes, flipped, *grids)
    text = 'matched cells: {:.0f} px apart in the image, chance {:.0f} px'.format(*distance[:2])
    if match.dtype == torch.bool:
        text += f'; {int(match.any(1).sum())} of {len(match)} have a match'
    tiles = [vis.titled(found, text), vis.titled(true, 'where these cells truly lie')]
    return vis.stacked(tiles), distance


def print_distances(distances: list[tuple[float, float, int]]) -> None:
    """Means over all cells of all images that the second view shows."""
    counts = np.array([count for *_, count in distances])
    values = np.nan_to_num(np.array([pair[:2] for pair in distances]))
    matched, chance = (values * counts[:, None]).sum(0) / max(counts.sum(), 1)
    print(
        f'{counts.sum()} cells of {len(distances)} pairs lie in both views; matched cells are '
        f'{matched:.1f} px apart in the original image, cells drawn at random {chance:.1f} px '
        f'({matched / max(chance, 1e-9):.2f})'
    )


if __name__ == '__main__':
    main()
