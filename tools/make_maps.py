#!/usr/bin/env python
"""Let the frozen teacher of a config look at each image once, and keep what it says.

OPTIONS="train_dataloader.dataset.data_root=my/photos model.heads.cells.target.maps=data/maps/lite0"
python tools/make_maps.py CONFIG --cfg-options $OPTIONS
python tools/train.py CONFIG --cfg-options $OPTIONS

The folder is target.maps of the config; the teacher, its weights and its stride are those of the same target.
It sees every image whole, squeezed to a square of cells x cells of its own cells. A training with the same
settings reads from there what its views show, and never calls the teacher. A photo that cannot be read is
named and ends it: leave it out of the folder.
"""

import argparse
import time
from collections.abc import Iterator

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from torch import Tensor
from torch.utils.data import DataLoader

from densecl.datasets import PretrainDataset
from densecl.datasets.collate import collate_views
from densecl.datasets.feature_maps import write_maps
from densecl.datasets.transforms import WholeImage
from densecl.engine.launch import load_config
from densecl.engine.one_line import call
from densecl.models.targets import TeacherFeatures
from densecl.registry import MODELS
from densecl.transfer import find_start
from densecl.transfer.teachers import use_start


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config of a pretraining with a teacher')
    parser.add_argument('--cells', type=int, default=16, help='along each side of a map')
    parser.add_argument('--batch-size', type=int, default=16, help='images that the teacher sees at once')
    parser.add_argument('--workers', type=int, default=0, help='processes that decode')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value, as in training')
    return parser.parse_args()


def main() -> None:
    """Build the model for its target and its normalisation, and show the target all images."""
    args = parse_args()
    cfg = load_config(args.config, None, args.cfg_options, 'none')
    init_default_scope('densecl')
    folder, name = take_folder(cfg)
    model = MODELS.build(cfg.model).to(get_device())
    target = model.heads[name].target
    start = find_start(target.start)
    use_start(target, start)
    print('\n'.join(start.lines()))
    given = cfg.train_dataloader.dataset
    kept = {name: given[name] for name in ('source', 'decoder', 'high_depth', 'max_images') if name in given}
    images = PretrainDataset(given.data_root, pipeline=[WholeImage(args.cells * target.patch)], **kept)
    loader = DataLoader(images, args.batch_size, num_workers=args.workers, collate_fn=collate_views)
    shape = (target.channels, args.cells, args.cells)
    ids = [images.image_id(index) for index in range(len(images))]
    made = dict(start=target.start, level=target.level, stride=target.stride)
    write_maps(folder, ids, maps_of(model, target, loader), shape, start.record(), made)
    print(f'{folder}: maps of {len(images)} images, {shape[0]} channels of {args.cells} x {args.cells} cells')


def take_folder(cfg: Config) -> tuple[str, str]:
    """The folder of the first teacher that has one, and its head.

    It is taken out of the config: the features are computed now.
    """
    for name, head in cfg.model.heads.items():
        target = head.get('target')
        if isinstance(target, dict) and target.get('start') and target.get('maps'):
            return target.pop('maps'), name
    raise SystemExit(
        'make_maps: no head of this config has a teacher whose features are to be kept: '
        "target=dict(type='TeacherFeatures', start=..., maps='data/maps/NAME')"
    )


@torch.no_grad()
def maps_of(model: torch.nn.Module, target: TeacherFeatures, loader: DataLoader) -> Iterator[Tensor]:
    """Batch by batch what the target makes of whole images; says how far it is."""
    model.eval()
    seen, said = 0, time.monotonic()
    for batch in loader:
        yield target.features(model.data_preprocessor(batch)['inputs'].images[0])
        seen += len(batch['inputs'].paths)
        if time.monotonic() > said + 10:
            said = time.monotonic()
            print(f'{seen} of {len(loader.dataset)} images', flush=True)


if __name__ == '__main__':
    call(main)
