"""Names of tensors, against the names that the projects themselves use."""

import pytest
import torch
import torchvision

from densecl.transfer.dialects import (
    backbone_part,
    depth_of,
    from_detectron2,
    is_resnet,
    stem_of,
    to_detectron2,
)

# Written out from detectron2's published R-50 and R-18 style backbones.
DETECTRON2 = {
    'conv1.weight': 'stem.conv1.weight',
    'bn1.running_mean': 'stem.conv1.norm.running_mean',
    'layer1.0.conv1.weight': 'res2.0.conv1.weight',
    'layer1.0.bn3.bias': 'res2.0.conv3.norm.bias',
    'layer1.0.downsample.0.weight': 'res2.0.shortcut.weight',
    'layer1.0.downsample.1.running_var': 'res2.0.shortcut.norm.running_var',
    'layer4.2.conv2.weight': 'res5.2.conv2.weight',
    'layer4.2.bn2.weight': 'res5.2.conv2.norm.weight',
}


def tensors_of(name):
    with torch.device('meta'):
        model = torchvision.models.get_model(name)
    return {k: v for k, v in model.state_dict().items() if not k.startswith('fc.')}


def test_detectron2_names():
    tensors = {key: torch.tensor(i) for i, key in enumerate(DETECTRON2)}
    assert to_detectron2(tensors) == {DETECTRON2[k]: v for k, v in tensors.items()}


@pytest.mark.parametrize('name', ['resnet18', 'resnet50', 'resnet101'])
@pytest.mark.parametrize('prefix', ['', 'backbone.bottom_up.'])
def test_detectron2_round_trip_keeps_every_tensor(name, prefix):
    tensors = tensors_of(name)
    there = {prefix + key: value for key, value in to_detectron2(tensors).items()}
    back = from_detectron2(there)
    kept = {k for k in tensors if not k.endswith('num_batches_tracked')}
    assert {k.removeprefix(prefix) for k in back} == kept
    assert all(back[prefix + k] is tensors[k] for k in kept)


def test_other_names_pass_through():
    tensors = tensors_of('resnet18')
    assert from_detectron2(tensors) is tensors


def test_unknown_name_is_refused():
    with pytest.raises(ValueError, match='no counterpart for stem.0.weight'):
        to_detectron2({'stem.0.weight': torch.zeros(1)})


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_depth_and_stem_are_read_off_the_tensors(depth):
    tensors = tensors_of(f'resnet{depth}')
    assert depth_of(tensors) == depth
    assert stem_of(tensors) == 'plain' and is_resnet(tensors)
    assert not is_resnet(tensors_of('convnext_tiny'))


def test_backbone_part_drops_what_stands_beside():
    tensors = tensors_of('resnet18')
    beside = {'fc.0.weight': torch.zeros(1), 'neck.conv.weight': torch.zeros(1)}
    assert backbone_part(tensors | beside) == tensors
    other = {'patch_embed.proj.weight': torch.zeros(1)}
    assert backbone_part(other | {'mask_token': torch.zeros(1)}) == other
