"""benchmarks/wire.py against bytes counted by hand, for a recipe that shuffles and has a queue."""

import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

ROOT = Path(__file__).parents[2]
WORLD, IMAGES = 2, 8


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('wire_tool', ROOT / 'benchmarks/wire.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def leaving() -> tuple[int, int]:
    """Images of rank 0 that another rank encodes in the first step, and others' images that it encodes."""
    order = torch.randperm(WORLD * IMAGES, generator=torch.Generator().manual_seed(0))
    own, here = order.argsort()[:IMAGES], order[:IMAGES]
    return int((own >= IMAGES).sum()), int((here >= IMAGES).sum())


def test_moco(tool):
    cfg = Config.fromfile(ROOT / 'configs/mocov2/mocov2_resnet18_1xb64-coslr-6e_photos.py')
    wire, gradients = tool.step(cfg, IMAGES, WORLD)
    out, back = leaving()
    assert 0 < out < IMAGES
    image, pooled = 4 * 3 * 96 * 96, 4 * 512
    key, numbers = 4 * 128, 8 * 3  # the key of an image; its number, position and label
    assert wire.calls == {'all_to_all': 2, 'all_gather': 2}
    assert wire.bytes == {
        'all_to_all': out * image + back * pooled,
        'all_gather': (WORLD - 1) * IMAGES * (key + numbers),
    }
    backbone = 11_176_512  # ResNet-18 without its classifier
    projector = 512 * 512 + 512 * 128 + 2 * (512 + 128)  # two layers, each with a norm
    assert gradients == 2 * 4 * (backbone + projector) * (WORLD - 1) // WORLD
