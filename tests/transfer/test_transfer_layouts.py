"""Files of every project: recognised, built, and computing what that project's own network computes."""

import pytest
import torch
from transfer import layouts as of

from densecl.registry import MODELS
from densecl.transfer import backbone_features, find_start, load_backbone
from densecl.transfer.check import normalised
from densecl.transfer.projects import caution

NC, APACHE, MIT = 'CC-BY-NC-4.0', 'Apache-2.0', 'MIT'
# name -> what makes the content, the file, what its origin says, the licence
COMPARED = {
    'torchvision': (of.resnet, 'resnet18-f37072fd.pth', 'torchvision, ResNet-18', 'BSD-3-Clause'),
    'torchvision renamed': (of.resnet, 'mine.pth', 'ResNet-18', None),
    'ResNeXt': (of.resnext, 'a.pth', 'ResNeXt-50 8x4d', None),
    'MoCo v1': (lambda: of.moco('fc'), 'a.pth.tar', 'MoCo v1, query encoder, ResNet-18', NC),
    'MoCo v2': (lambda: of.moco('fc.2'), 'a.pth.tar', 'MoCo v2, query encoder, ResNet-18', NC),
    'DenseCL': (of.densecl_official, 'epoch_200.pth', 'DenseCL, query encoder, ResNet-18', 'GPL-3.0'),
    'PixPro': (of.pixpro, 'a.pth', 'PixPro, encoder, ResNet-18', MIT),
    'SwAV': (of.swav, 'a.pth.tar', 'SwAV, ResNet-18', NC),
    'BYOL': (of.byol, 'a.pth', 'BYOL, online encoder, ResNet-18', None),
    'lightly': (of.lightly, 'a.ckpt', 'BYOL, online encoder, ResNet-18', None),
    'VICReg': (of.vicreg, 'a.pth', 'VICReg, ResNet-18', MIT),
    'timm deep stem': (lambda: of.of_timm('resnet18d'), 'a.pth', 'ResNet-18d', None),
    'detectron2': (of.detectron2, 'a.pkl', 'detectron2, ResNet-18', 'CC-BY-SA-3.0'),
    'DINO': (of.dino, 'a.pth', 'DINO, teacher, ViT of 2 blocks of 32, patch 8', APACHE),
    'iBOT': (of.ibot, 'a.pth', 'iBOT, teacher, ViT of 2 blocks of 32, patch 8', APACHE),
    'MoCo v3': (of.mocov3, 'a.pth.tar', 'MoCo v3, base encoder, ViT of 2 blocks of 48, patch 8', NC),
    'DINOv2': (of.dinov2, 'dinov2_vits14_pretrain.pth', 'DINOv2, ViT of 2 blocks of 32, patch 8', APACHE),
    'DINOv2 chunks': (of.dinov2_chunks, 'a.pth', 'DINOv2, teacher, ViT of 2 blocks of 32, patch 8', APACHE),
    'DINOv2 registers': (of.dinov2_registers, 'a.pth', 'DINOv2, ViT of 2 blocks of 32, patch 8', APACHE),
    'DINOv3': (of.dinov3, 'a.pth', 'DINOv3, ViT of 2 blocks of 64, rotary, 4 registers', 'DINOv3'),
    'DINOv3 gated': (
        of.dinov3_gated, 'a.pth', 'DINOv3, ViT of 2 blocks of 64, rotary, 4 registers', 'DINOv3'),
    'DINOv2 giant': (of.dinov2_giant, 'a.pth', 'DINOv2, ViT of 2 blocks of 32, patch 8', APACHE),
    'timm DINOv3': (of.timm_dinov3, 'a.pth', 'ViT of 2 blocks of 64, rotary, 4 registers', None),
    'timm ViT': (of.vit, 'a.safetensors', 'ViT of 2 blocks of 32, patch 8', None),
    'torchvision ViT': (of.torchvision_vit, 'a.pth', 'ViT of 2 blocks of 32, patch 8', None),
    'mmseg ViT': (of.mmseg_vit, 'a.pth', 'mmseg, ViT of 2 blocks of 32, patch 8', APACHE),
    'ConvNeXt': (of.convnext_official, 'a.pth', 'ConvNeXt, ConvNeXt-(1, 2, 1, 1) (8, 16, 24, 32)', MIT),
    'ConvNeXt V2': (of.convnextv2, 'a.pt', 'ConvNeXt V2, ConvNeXt V2-(1, 2, 1, 1) (8, 16, 24, 32)', NC),
    'torchvision ConvNeXt': (of.torchvision_convnext, 'a.pth', 'ConvNeXt-(1, 2, 1, 1) (8, 16, 24, 32)', None),
    'timm ConvNeXt': (of.timm_convnext, 'a.pth', 'ConvNeXt-(2, 2, 6, 2) (8, 16, 24, 32)', None),
    'timm Swin': (of.timm_swin, 'a.pth', 'Swin-16 (1, 2, 1, 2), window 4', None),
    'Swin': (of.swin, 'swin_tiny_patch4.pth', 'Swin, Swin-16 (1, 2, 1, 2), window 4', MIT),
    'torchvision Swin': (of.torchvision_swin, 'a.pth', 'Swin-16 (1, 2, 1, 2), window 4', None),
    'mmdet Swin': (of.mmdet_swin, 'a.pth', 'mmdet, Swin-16 (1, 2, 1, 2), window 4', APACHE),
    'EfficientNet': (lambda: of.of_timm('tf_efficientnet_b0'), 'tf_b0.pth', 'EfficientNet-B0', None),
    'torchvision EfficientNet': (
        lambda: of.of_torchvision('efficientnet_b0'), 'a.safetensors', 'EfficientNet-B0', None),
    'torchvision MobileNetV3': (
        lambda: of.of_torchvision('mobilenet_v3_small'), 'a.pth', 'MobileNetV3-Small', None),
    'timm MobileNetV3': (lambda: of.of_timm('mobilenetv3_small_100'), 'a.pth', 'MobileNetV3-Small', None),
}  # fmt: skip
HUGGING_FACE = {
    'ViT': (of.hf_vit, dict(model_type='vit', num_attention_heads=2), 'ViT of 2 blocks of 32, patch 8'),
    'Dinov2': (
        of.hf_dinov2,
        dict(model_type='dinov2', num_attention_heads=2),
        'ViT of 2 blocks of 32, patch 8',
    ),
    'DINOv3': (
        of.hf_dinov3,
        dict(model_type='dinov3_vit', num_attention_heads=1),
        'ViT of 2 blocks of 64, rotary, 4 registers',
    ),
    'ResNet': (of.hf_resnet, dict(model_type='resnet'), 'ResNet-18'),
    'ConvNeXt': (of.hf_convnext, dict(model_type='convnext'), 'ConvNeXt-(1, 2, 1, 1) (8, 16, 24, 32)'),
}


def kind(start):
    """The adapter that the backbone of an origin is built with."""
    title = start.origin.replace('ConvNeXt', '').replace('EfficientNet', '').replace('MobileNet', '')
    if 'ResN' in title:
        return 'mmdet.ResNeXt' if 'ResNeXt' in title else 'mmdet.ResNet'
    return 'TimmViT' if 'ViT' in title else 'TimmBackbone'


@pytest.mark.parametrize('name', COMPARED)
def test_computes_what_its_project_computes(name, image, tmp_path):
    make, file, origin, licence = COMPARED[name]
    start = find_start(of.write(make(), tmp_path / file))
    assert (start.origin, start.licence) == (origin, licence)
    assert start.backbone['type'] == kind(start)
    assert start.check(image) < 1e-5
    text = start.lines()[-1 - len(start.notes)]  # a picture of its own
    assert 'features: those of' in text and 'largest difference' in text
    again = find_start(start.save(tmp_path / 'saved.pth'))
    assert (again.origin, again.licence, again.mean) == (start.origin, start.licence, start.mean)
    assert again.backbone == start.backbone and again.tensors.keys() == start.tensors.keys()
    assert all(torch.equal(again.tensors[k], v) for k, v in start.tensors.items())


def test_capi_is_read_without_its_predictor(image, tmp_path):
    content, own = of.capi()
    start = find_start(of.write(content, tmp_path / 'capi_vitl14.pth'))
    assert (start.origin, start.licence) == ('CAPI, ViT of 2 blocks of 64, rotary, 4 registers', APACHE)
    assert start.tensors.keys() == own.keys()
    assert all(torch.equal(start.tensors[k], v) for k, v in own.items())
    backbone = MODELS.build(start.backbone)
    backbone.load_state_dict(start.tensors)
    assert backbone.num_heads == 1 and backbone(torch.randn(1, 3, 32, 32))[-1].shape == (1, 64, 1, 4)


def test_the_check_notices(image, tmp_path):
    """Two swapped filters, and images normalised by others' mean."""
    start = find_start(of.write(of.resnet(), tmp_path / 'a.pth'))
    start.tensors['conv1.weight'] = start.tensors['conv1.weight'].flip(0)
    assert start.check(image) > 1e-2 and 'NOT those' in start.lines(image)[3]
    start = find_start(tmp_path / 'a.pth')
    start.mean = (127.5, 127.5, 127.5)
    assert start.check(image) > 1e-3


@pytest.mark.parametrize(
    'make, word, prefix',
    [
        (lambda: of.moco('fc.2'), 'query', 'module.encoder_q.'),
        (of.byol, 'online', 'online_net.0.'),
        (of.dino, 'teacher', 'teacher.backbone.'),
        (of.mocov3, 'base', 'module.base_encoder.'),
    ],
)
def test_which_of_two_encoders(make, word, prefix, tmp_path):
    content = make()
    start = find_start(of.write(content, tmp_path / 'a.pth'))
    assert word in start.origin
    flat = content.get('state_dict') or {
        f'{k}.{n}': t for k in ('student', 'teacher') for n, t in content[k].items()
    }
    assert len(start.tensors) > 20
    assert all(torch.equal(v, flat[prefix + k]) for k, v in start.tensors.items())


@pytest.mark.parametrize('file', ['mmdet', 'Caffe2'])
def test_bgr_becomes_rgb(file, image, tmp_path):
    """mmdet's own caffe ResNet on BGR images minus a mean against the start on RGB images."""
    source = MODELS.build(dict(type='mmdet.ResNet', depth=50, style='caffe', base_channels=8))
    if file == 'mmdet':
        content = of.mm_caffe()
        names = {k.removeprefix('backbone.'): v for k, v in content['state_dict'].items() if 'backbone' in k}
        start = find_start(of.write(content, tmp_path / 'a.pth'))
    else:
        content, names = of.caffe2()
        start = find_start(of.write(content, tmp_path / 'R-50.pkl'))
        assert 'not divided by a standard deviation' in start.notes[0]
    source.load_state_dict(names, strict=False)
    assert start.mean == (123.675, 116.28, 103.53) and start.std == (1, 1, 1)
    assert start.backbone['style'] == 'caffe'
    bgr = dict(channel_order='BGR', mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0])
    expected = backbone_features(source, normalised(image, bgr))[-1]
    rgb = normalised(image, dict(mean=list(start.mean), std=list(start.std)))
    found = backbone_features(start.build(), rgb)[-1]
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_deep_stem_of_mmseg(tmp_path):
    start = find_start(of.write(of.mmseg_v1c(), tmp_path / 'a.pth'))
    assert start.origin == 'mmseg, ResNet-18c' and start.backbone['deep_stem']
    assert 'avg_down' not in start.backbone and start.tensors['stem.0.weight'].shape == (4, 3, 3, 3)


@pytest.mark.parametrize('name', HUGGING_FACE)
def test_model_folders(name, tmp_path):
    """Renamed back, each tensor is the one that the folder was made of; heads are the config's."""
    make, config, title = HUGGING_FACE[name]
    content, expected = make()
    start = find_start(of.write_folder(content, config, tmp_path / 'folder'))
    assert start.origin == f'transformers ({config["model_type"]}), {title}'
    assert start.mean == (127.5, 102.0, 76.5) and start.std == (51.0, 51.0, 25.5)
    assert start.backbone.get('num_heads') == config.get('num_attention_heads')
    assert start.name == 'folder' and len(start.tensors) > 20
    assert all(torch.equal(v, expected[k]) for k, v in start.tensors.items())
    start.build()


def test_folder_of_timm(tmp_path):
    """The architecture that config.json names decides what no tensor tells: how edges are padded."""
    said = dict(mean=[0.5] * 3, std=[0.5] * 3, license='cc-by-nc-4.0')
    config = dict(architecture='tf_efficientnet_lite0', pretrained_cfg=said)
    start = find_start(of.write_folder(of.of_timm('tf_efficientnet_lite0'), config, tmp_path / 'folder'))
    assert (start.origin, start.licence) == ('timm, EfficientNet-Lite0', NC)
    assert start.backbone['model_name'] == 'tf_efficientnet_lite0' and start.mean[0] == 127.5
    assert any('non-commercial' in line for line in start.lines()) and not start.notes
    plain = find_start(of.write(of.of_timm('efficientnet_lite0'), tmp_path / 'a.pth'))
    assert plain.backbone['model_name'] == 'efficientnet_lite0' and 'padding' in plain.notes[0]


def test_heads_are_guessed_aloud(tmp_path):
    start = find_start(of.write(of.vit(), tmp_path / 'a.pth'))
    assert start.notes == ['attention heads guessed: 1 (64 channels each); no tensor tells them']
    assert find_start(of.write(of.mocov3(), tmp_path / 'b.pth')).backbone['num_heads'] == 12


def test_a_start_loads_into_a_detectors_vit(tmp_path, image):
    """What ``save`` writes has timm's names; mmseg's ViT, which detectors use, takes it."""
    start = find_start(of.write(of.vit(), tmp_path / 'a.pth'))
    sizes = dict(img_size=32, patch_size=8, embed_dims=32, num_layers=2, num_heads=1, patch_bias=True)
    eps = dict(type='LN', eps=1e-6)
    model = MODELS.build(dict(type='mmseg.VisionTransformer', final_norm=True, norm_cfg=eps, **sizes))
    assert load_backbone(model, start.save(tmp_path / 'b.pth')).fraction == 1
    images = normalised(image[:32, :32], {})
    expected = backbone_features(start.build(), images)[-1]
    torch.testing.assert_close(backbone_features(model, images)[-1], expected, rtol=1e-4, atol=1e-4)


def test_cautions():
    assert all(caution(x) is None for x in (APACHE, MIT, 'BSD-3-Clause'))
    assert 'non-commercial' in caution(NC)
    assert 'same licence' in caution('GPL-3.0') and 'same licence' in caution('CC-BY-SA-3.0')
    assert 'terms of its own' in caution('DINOv3') and 'not known' in caution(None)
