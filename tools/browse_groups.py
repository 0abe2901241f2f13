#!/usr/bin/env python
"""Look at the groups that learned slots make of real images (SlotCon).

python tools/browse_groups.py CONFIG work_dirs/.../epoch_6.pth

One picture an image, cells coloured by the slot that wins them, and ``slots.png``, which shows the
most used slots on the images where they score best.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import DictAction
from mmengine.registry import init_default_scope
from torch import Tensor

from densecl import visualization as vis
from densecl.compat import load_checkpoint
from densecl.engine.fields import merge_options
from densecl.engine.launch import read_config
from densecl.engine.one_line import call
from densecl.models.heads.units import Groups
from densecl.registry import DATASETS, MODELS
from densecl.transfer.mismatch import model_images


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of a pretraining with slots')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('--out', help='folder of the pictures (work_dirs/<config name>/groups)')
    parser.add_argument('--num', type=int, default=16, help='number of images')
    parser.add_argument('--rows', type=int, default=12, help='slots in slots.png, most used first')
    parser.add_argument('--size', type=int, default=224, help='short side, for the network, in pixels')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override settings, key=value ...'
    )
    return parser.parse_args()


def main() -> None:
    """Group ``--num`` whole images, evenly spread over the dataset, by the target branch."""
    args = parse_args()
    cfg = read_config(args.config)
    merge_options(cfg, args.cfg_options or {})
    init_default_scope(cfg.get('default_scope', 'densecl'))
    cfg.train_dataloader.dataset.pipeline = []
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    model = MODELS.build(cfg.model).eval()
    model.load_state_dict(load_checkpoint(args.checkpoint)['state_dict'])
    out = Path(args.out or Path('work_dirs') / Path(args.config).stem / 'groups')
    samples = [dataset[int(i)] for i in np.linspace(0, len(dataset) - 1, min(args.num, len(dataset)))]
    images = [sample['image'] for sample in samples]
    scores = [scores_of(model, image, args.size) for image in images]
    used = torch.stack([s.argmax(0).flatten().bincount(minlength=len(s)) for s in scores])  # (N, K)
    areas = {k: int(n) for k, n in enumerate(used.sum(0)) if n}
    palette = vis.palette_of(areas)
    for sample, score in zip(samples, scores, strict=True):
        sheet = vis.draw_groups(sample['image'], vis.assigned(score, sample['image'].shape[:2]), palette)
        vis.save_image(out / f'{Path(sample["path"]).stem}.png', sheet)
    vis.save_image(out / 'slots.png', vis.draw_slots(images, scores, list(palette)[: args.rows]))
    print(
        f'{len(areas)} of {used.shape[1]} slots win a cell somewhere, '
        f'{(used > 0).sum(1).float().mean():.1f} in an image of {len(images)}; the largest has '
        f'{max(areas.values()) / sum(areas.values()):.0%} of all cells'
    )
    print(out)


@torch.no_grad()
def scores_of(model, image: np.ndarray, size: int) -> Tensor:
    """(K, h, w) cosines of slots and cells of a uint8 (H, W, 3) image, by the target branch."""
    name, head = next(((n, h) for n, h in model.heads.items() if isinstance(h.units, Groups)), (None, None))
    if head is None:
        raise ValueError(f"none of the heads {list(model.heads)} has units='Groups'; no slots to draw")
    norm = model_images(model)
    pixels = torch.tensor(image).permute(2, 0, 1)[None].float()  # (1, 3, H, W)
    shape = [round(side * size / min(image.shape[:2])) for side in image.shape[:2]]
    pixels = F.interpolate(pixels, shape, mode='bilinear', antialias=True)
    mean, std = (torch.tensor(norm[key]).view(3, 1, 1) for key in ('mean', 'std'))
    levels = getattr(model, 'encode_target', model.encode)((pixels - mean) / std)
    projector = model.target_projector(name)
    return projector.group(projector(levels[head.units.level]))[1][0]


if __name__ == '__main__':
    call(main)
