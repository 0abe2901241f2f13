"""Small starts in densecl's own format, and small labelled sets of coloured rectangles."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from densecl.registry import MODELS

VIT = dict(type='TimmViT', embed_dim=48, depth=2, num_heads=3, img_size=64)
BACKBONES = {
    'resnet': dict(type='mmdet.ResNet', depth=18, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2)),
    'lite0': dict(type='TimmBackbone', model_name='tf_efficientnet_lite0', output_stride=16),
    'CLIP': dict(type='TimmBackbone', model_name='resnet50_clip', width_factor=0.125, out_indices=(4,)),
    'four': dict(type='mmdet.ResNet', depth=18, in_channels=4),
    'vit': VIT,
    'vit of 8 px': dict(VIT, patch_size=8, pos_embed='sincos-mae', hidden='dropped', init='mae'),
    'DINOv2': dict(VIT, patch_size=14, img_size=56, reg_tokens=2, init_values=0.1, hidden='token'),
    'BEiT': dict(VIT, arch='beit_base_patch16_224', hidden='token'),
    'fine-tuned BEiT': dict(VIT, arch='beit_base_patch16_224', use_rel_pos_bias=True, final_norm=False),
    'ViTDet': dict(VIT, type='ViTDet', window=3, global_blocks=(1,)),
    'DINOv3': dict(VIT, arch='vit_small_patch16_dinov3', embed_dim=96, rope_rescale=2.0),
    'CLIP ViT': dict(VIT, arch='vit_base_patch16_clip_quickgelu_224'),
    'CAPI': dict(VIT, arch='vit_large_patch14_capi', patch_size=14, num_reg_tokens=4, hidden='dropped'),
}
FOUR_BANDS = dict(
    data_preprocessor=dict(mean=[1600.0] * 4, std=[400.0] * 4),
    decoder=dict(type='SensorDecoder', channels=4, dtype='uint16'),
)


@pytest.fixture(scope='session')
def backbones():
    """Name -> config of a backbone."""
    return BACKBONES


@pytest.fixture(scope='session')
def starts(tmp_path_factory):
    """Name -> an export of a pretraining that had begun at ImageNet weights."""
    folder, paths = tmp_path_factory.mktemp('starts'), {}
    for name, backbone in BACKBONES.items():
        torch.manual_seed(0)
        model = MODELS.build(backbone)
        settings = dict(model=dict(backbone=backbone), start=dict(name='imagenet'))
        if name == 'four':
            settings['model']['data_preprocessor'] = FOUR_BANDS['data_preprocessor']
            settings['train_dataloader'] = dict(dataset=dict(decoder=FOUR_BANDS['decoder']))
        text = ''.join(f'{key} = {value!r}\n' for key, value in settings.items())
        meta = dict(cfg=text, experiment_name=name)
        tensors = {f'backbone.{key}': value for key, value in model.state_dict().items()}
        paths[name] = folder / f'{name}.pth'
        torch.save(dict(meta=meta, state_dict=tensors), paths[name])
    return paths


def draw(number: int, size: tuple[int, int] = (64, 48)):
    """A grey picture with a rectangle; and the rectangle, x, y, width, height."""
    rng = np.random.default_rng(number)
    picture = rng.integers(90, 120, (size[1], size[0], 3), dtype=np.uint8)
    x, y, width, height = (int(v) for v in (*rng.integers(2, 20, 2), *rng.integers(18, 26, 2)))
    picture[y : y + height, x : x + width] = (220, 40, 40) if number % 2 else (40, 40, 220)
    return Image.fromarray(picture), (x, y, width, height)


@pytest.fixture
def coco(tmp_path):
    """``coco(count, masks)`` writes pictures and their json; returns the json's path."""

    def make(count: int = 6, masks: bool = False, name: str = 'all.json', **changes):
        (tmp_path / 'images').mkdir(exist_ok=True)
        images, annotations = [], []
        for number in range(count):
            picture, (x, y, w, h) = draw(number)
            picture.save(tmp_path / 'images' / f'{number}.jpg')
            images.append(dict(id=number, file_name=f'{number}.jpg', width=64, height=48))
            polygon = [[x, y, x + w, y, x + w, y + h, x, y + h]] if masks else []
            annotations.append(
                dict(
                    id=number,
                    image_id=number,
                    category_id=(2, 7)[number % 2],
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                    segmentation=polygon,
                )
            )
        content = dict(
            images=images,
            annotations=annotations,
            categories=[dict(id=7, name='red'), dict(id=2, name='blue')],
        )
        path = tmp_path / name
        path.write_text(json.dumps({**content, **changes}))
        return path

    return make


@pytest.fixture
def label_maps(tmp_path):
    """``label_maps(count, ids)`` writes ``images/`` and ``labels/``; returns the folder."""

    def make(count: int = 6, ids: tuple[int, int, int] = (0, 1, 2)):
        root = tmp_path / 'maps'
        for folder in ('images', 'labels'):
            (root / folder).mkdir(parents=True)
        for number in range(count):
            picture, (x, y, w, h) = draw(number)
            label = np.full((48, 64), ids[0], np.uint8)
            label[y : y + h, x : x + w] = ids[1 + number % 2]
            label[:2] = 255
            picture.save(root / 'images' / f'{number}.jpg')
            Image.fromarray(label).save(root / 'labels' / f'{number}.png')
        return root

    return make
