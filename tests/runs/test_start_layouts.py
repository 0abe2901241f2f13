"""How a run builds the backbone of its start: the deepest map at stride 16, where that is possible."""

import pytest
import timm
import torch
from torchvision.models import resnet18

from densecl.registry import MODELS
from densecl.runs.starts import layout_of
from densecl.transfer import find_start


@pytest.mark.parametrize(
    ('make', 'width'),
    [
        (resnet18, 512),  # mmdet's, whose eval() returns nothing
        (lambda: timm.create_model('tf_efficientnet_lite0'), 320),
        (lambda: timm.create_model('vit_tiny_patch16_224'), 192),
    ],
    ids=['resnet', 'efficientnet', 'vit'],
)
def test_the_deepest_map_has_stride_16(tmp_path, make, width):
    torch.save(make().state_dict(), tmp_path / 'tf_weights.pth')
    layout = layout_of(find_start(tmp_path / 'tf_weights.pth'))
    model = MODELS.build(dict(layout.backbone))
    model.eval()
    with torch.no_grad():
        levels = model(torch.zeros(1, 3, 224, 224))
    last = levels[-1][0] if isinstance(levels[-1], tuple) else levels[layout.level]
    assert (last.shape[1], last.shape[-1]) == (width, 224 // 16) and layout.width == width
    assert layout.layers > 1
