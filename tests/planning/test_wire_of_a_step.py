"""What a step sends, against bytes counted by hand, for a recipe that shuffles and has a queue."""

from pathlib import Path

import torch

from densecl.engine.launch import read_config
from densecl.planning.counting import Step
from densecl.planning.photos import take_samples

ROOT = Path(__file__).parents[2]
WORLD, IMAGES = 2, 8


def leaving() -> tuple[int, int]:
    """Images of rank 0 that another rank encodes in the first step, and others' images that it encodes."""
    order = torch.randperm(WORLD * IMAGES, generator=torch.Generator().manual_seed(0))
    own, here = order.argsort()[:IMAGES], order[:IMAGES]
    return int((own >= IMAGES).sum()), int((here >= IMAGES).sum())


def test_moco():
    cfg = read_config(str(ROOT / 'configs/mocov2/mocov2_resnet18_1xb64-coslr-6e_photos.py'))
    step = Step(cfg, take_samples(cfg, count=1, seconds=0).samples, images=1000)
    cost = step.count(IMAGES, world=WORLD)
    out, back = leaving()
    assert 0 < out < IMAGES
    image, pooled = 4 * 3 * 112 * 112, 4 * 512
    key, numbers = 4 * 128, 8 * 3  # the key of an image; its number, position and label
    backbone = 11_176_512  # ResNet-18 without its classifier
    projector = 512 * 512 + 512 * 128 + 2 * (512 + 128)  # two layers, each with a norm
    assert cost.collectives == 4
    assert cost.wire == {
        'all_to_all': out * image + back * pooled,
        'all_gather': (WORLD - 1) * IMAGES * (key + numbers),
        'gradients': 2 * 4 * (backbone + projector) * (WORLD - 1) // WORLD,
    }
