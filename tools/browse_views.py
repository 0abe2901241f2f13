#!/usr/bin/env python
"""Look at the views that a config makes of real images, and at the cells that a model matches.

python tools/browse_views.py configs/quickstart/densecl_resnet18_sample.py
python tools/browse_views.py CONFIG --matches work_dirs/.../epoch_8.pth
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
from densecl.models.matching import match_by_similarity  # noqa: E402
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
    parser.add_argument('--matches', metavar='CHECKPOINT', help='draw the matched cells as well')
    parser.add_argument('--lines', type=int, default=12, help='matches drawn, most similar first')
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
    out = Path(args.out or Path('work_dirs') / Path(args.config).stem / 'views')
    distances = []
    for index in np.linspace(0, len(dataset) - 1, min(args.num, len(dataset))).astype(int):
        sample = dataset[SampleKey(args.epoch, int(index))]
        name = f'{index:06d}_{Path(sample.path).stem}'
        tensors, pictures = seen_by(model, sample)
        sheet = vis.draw_views(
            originals.pop(), sample.boxes, sample.flipped, pictures, sample.source_size
        )
        vis.save_image(out / f'{name}.png', sheet)
        if args.matches:
            sheet, distance = matches(model, sample, tensors, pictures, args.lines)
            vis.save_image(out / f'{name}_matches.png', sheet)
            distances.append(distance)
    if distances:
        print_distances(distances)
    print(out)


def seen_by(model, sample) -> tuple[list[torch.Tensor], list[np.ndarray]]:
    """The views as the network gets them, (1, 3, H, W) each, and as pictures (H, W, 3)."""
    images = model.data_preprocessor({'inputs': Views.collate([sample])}, True)['inputs'].images
    norm = model_images(model)
    pictures = [vis.displayable(image, norm['mean'], norm['std'])[0] for image in images]
    return images, pictures


def matches(model, sample, tensors, pictures, lines):
    """The picture of the first two views' matched cells, and their distance in the original image.

    Both views go through the online backbone, in eval mode.
    """
    query, key = (backbone_features(model, image)[-1] for image in tensors[:2])
    grids = tuple(query.shape[2:]), tuple(key.shape[2:])
    index = match_by_similarity(query, key)[0]
    query, key = (torch.nn.functional.normalize(m[0].flatten(1), dim=0) for m in (query, key))
    cells = (query * key[:, index]).sum(0).argsort(descending=True)[:lines].tolist()
    boxes, flipped = sample.boxes[:2], sample.flipped[:2]
    found = vis.draw_matches(*pictures[:2], index, *grids, cells)
    true = vis.draw_true_locations(*pictures[:2], boxes, flipped, grids[0], cells)
    distance = vis.match_distance(index, boxes, flipped, *grids)
    title = 'most similar cells: {:.0f} px apart in the image, chance {:.0f} px'.format(
        *distance[:2]
    )
    tiles = [vis.titled(found, title), vis.titled(true, 'where these cells truly lie')]
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
