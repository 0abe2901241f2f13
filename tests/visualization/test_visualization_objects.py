"""An object has the same colour in every view, and regions of real photos lie on the same thing."""

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from densecl.datasets import SampleKey
from densecl.registry import DATASETS
from densecl.sample import sample_root
from densecl.structures import ViewRegions
from densecl.visualization import colors, draw_objects

CONFIG = 'configs/scrl/scrl_resnet18_1xb64-coslr-6e_photos.py'


def test_the_same_id_has_the_same_colour_everywhere():
    views = [np.zeros((50, 100, 3), np.uint8)] * 2
    first = ViewRegions(torch.tensor([[10.0, 10, 60, 40], [70, 5, 95, 45]]), torch.tensor([7, 3]))
    second = ViewRegions(torch.tensor([[30.0, 5, 90, 45], [5, 5, 20, 45]]), torch.tensor([3, -1]))
    sheet = draw_objects(views, [first, second], height=100)
    assert sheet.shape == (100, 412, 3)
    seven, three = colors(2)
    assert (sheet[78, 80] == seven).all() and (sheet[60, 140] == three).all()
    assert (sheet[60, 212 + 60] == three).all() and (sheet[88, 212 + 120] == three).all()
    assert (sheet[60, 212 + 10] == 0).all()  # no object
    assert (views[0] == 0).all()


def test_regions_of_real_photos_look_alike(pytestconfig):
    """Without colour changes, the two crops of a region differ by their resolution only."""
    size = 160
    cfg = Config.fromfile(pytestconfig.rootpath / CONFIG)
    view = dict(count=2, size=size, scale=(0.2, 1.0), flip=0.5)
    boxes = dict(type='OverlapBoxes', count=4)
    dataset = dict(
        cfg.train_dataloader.dataset,
        data_root=str(sample_root() / 'detection/val'),
        pipeline=[dict(type='MultiView', views=[view], regions=dict(overlap=boxes))],
    )
    with DefaultScope.overwrite_default_scope('densecl'):
        dataset = DATASETS.build(dataset)
    same, other, flips = [], [], 0
    for index in range(24):
        sample = dataset[SampleKey(0, index)]
        regions, flipped = sample.regions['overlap'], sample.flipped
        if regions[0].ids[0] < 0:
            continue
        flips += int(flipped[0] ^ flipped[1])
        crops = [patches(sample.images[v], regions[v].boxes) for v in (0, 1)]
        # A view is shown mirrored or not; the region is compared upright.
        crops = [c.flip(2) if flipped[v] else c for v, c in enumerate(crops)]
        same.append((crops[0] - crops[1]).abs().mean())
        other.append((crops[0] - crops[1].roll(1, 0)).abs().mean())
    assert len(same) >= 16 and flips >= 4
    assert torch.stack(same).mean() < 0.1 * torch.stack(other).mean()


def patches(image, boxes, side=12):
    """Each box of a (H, W, 3) view, resized to (R, side, side, 3), in 0..1."""
    planes = image.permute(2, 0, 1).float() / 255
    found = []
    for x1, y1, x2, y2 in boxes.round().int().tolist():
        crop = planes[None, :, y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
        found.append(torch.nn.functional.interpolate(crop, (side, side), mode='bilinear', antialias=True)[0])
    return torch.stack(found).permute(0, 2, 3, 1)
