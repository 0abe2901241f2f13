"""How a run builds the backbone of its start: the deepest map at stride 16, where that is possible."""

import pytest
import timm
import torch
from torchvision.models import resnet18

from densecl.registry import MODELS
from densecl.runs.starts import architecture_of, layout_of
from densecl.transfer import find_start


@pytest.mark.parametrize(
    ('make', 'width', 'patch'),
    [
        (resnet18, 512, 1),  # mmdet's, whose eval() returns nothing
        (lambda: timm.create_model('tf_efficientnet_lite0'), 320, 1),
        (lambda: timm.create_model('vit_tiny_patch16_224'), 192, 16),
    ],
    ids=['resnet', 'efficientnet', 'vit'],
)
def test_the_deepest_map_has_stride_16(tmp_path, make, width, patch):
    torch.save(make().state_dict(), tmp_path / 'tf_weights.pth')
    layout = layout_of(find_start(tmp_path / 'tf_weights.pth'))
    model = MODELS.build(dict(layout.backbone))
    model.eval()
    with torch.no_grad():
        levels = model(torch.zeros(1, 3, 224, 224))
    last = levels[-1][0] if isinstance(levels[-1], tuple) else levels[layout.level]
    assert (last.shape[1], last.shape[-1]) == (width, 224 // 16) and layout.width == width
    assert layout.layers > 1 and layout.patch == patch


def test_names_in_the_table_of_speeds():
    backbones = [
        dict(type='mmdet.ResNet', depth=50),
        dict(type='TimmViT', arch='vit_small_patch16_224', embed_dim=768, depth=12),
        dict(type='TimmBackbone', model_name='tf_efficientnet_lite0'),
    ]
    names = ['resnet50', 'vit-base', 'efficientnet-lite0']
    assert [architecture_of(backbone) for backbone in backbones] == names


def test_a_method_goes_on_from_a_transformer(tmp_path):
    """Its deepest map is not its last level, which is the class token."""
    from mmengine.config import Config

    from densecl.runs.plan import make_plan
    from densecl.sample import sample_root

    torch.save(timm.create_model('vit_tiny_patch16_224').state_dict(), tmp_path / 'weights.pth')
    plan = make_plan(
        sample_root() / 'detection',
        tmp_path / 'run',
        str(tmp_path / 'weights.pth'),
        method='densecl',
        measure=False,
    )
    (tmp_path / 'config.py').write_text(plan.text)
    heads = Config.fromfile(tmp_path / 'config.py').model.heads
    assert heads.dense.units == dict(type='Cells', level=-2)
    assert heads.dense.projector.channels[0] == heads.image.projector.channels[0] == 192
