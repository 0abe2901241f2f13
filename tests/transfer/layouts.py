"""Contents of small files, laid out exactly as each project lays out its own.

The networks are real ones of torchvision, timm, mmdet and mmseg, with values of their own.
"""

import functools
import json
import pickle
import re

import timm
import torch
import torchvision
from safetensors.torch import save_file

from densecl.registry import MODELS
from densecl.transfer.dialects import to_detectron2

VIT = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_classes=5)


def state(model, seed=1):
    """A state dict with values that keep features finite and no batch norm trivial."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            continue
        positive = name.endswith('running_var') or re.search(r'gamma|layer_scale|bn\d\.weight', name)
        if tensor.ndim > 1 and not positive:
            tensor.normal_(std=(2 / tensor[0].numel()) ** 0.5, generator=generator)
        elif positive:
            tensor.uniform_(0.5, 1.0, generator=generator)
        else:
            tensor.normal_(std=0.1, generator=generator)
    return model.state_dict()


@functools.cache
def resnet(seed=1):
    return state(torchvision.models.resnet18(num_classes=3), seed)


def resnext():
    parts = torchvision.models.resnet
    return state(parts.ResNet(parts.Bottleneck, [3, 4, 6, 3], groups=8, width_per_group=4, num_classes=3))


def backbone(seed=1):
    return {k: v for k, v in resnet(seed).items() if not k.startswith('fc.')}


def pre(prefix, tensors):
    return {prefix + k: v for k, v in tensors.items()}


def linear(name):
    return {f'{name}.weight': torch.zeros(4, 4), f'{name}.bias': torch.zeros(4)}


def sequential(tensors):
    """``nn.Sequential(*resnet.children())``: conv1, bn1, relu, maxpool, layer1, ..."""
    numbers = {'conv1': 0, 'bn1': 1, 'layer1': 4, 'layer2': 5, 'layer3': 6, 'layer4': 7}
    return {f'{numbers[k.split(".")[0]]}.{k.partition(".")[2]}': v for k, v in tensors.items()}


def moco(head):
    """``fc`` in version 1, ``fc.0`` and ``fc.2`` in version 2."""
    names = pre('module.encoder_q.', backbone()) | pre('module.encoder_k.', backbone(2))
    content = names | linear(f'module.encoder_q.{head}')
    return dict(epoch=200, arch='resnet18', state_dict=content | {'module.queue': torch.zeros(4, 8)})


def densecl_official():
    names = pre('backbone.', backbone()) | pre('encoder_q.0.', backbone()) | pre('encoder_k.0.', backbone(2))
    heads = linear('encoder_q.1.mlp.0') | linear('encoder_q.1.mlp2.0')
    return dict(meta={}, state_dict=names | heads | {'queue': torch.zeros(4, 8), 'queue2': torch.zeros(4, 8)})


def pixpro():
    names = pre('module.encoder.', backbone()) | pre('module.encoder_k.', backbone(2))
    return dict(model=names | linear('module.projector_k.linear1') | linear('module.value_transform'))


def swav():
    return pre('module.', backbone()) | linear('module.projection_head.0') | linear('module.prototypes')


def byol():
    names = pre('online_net.0.', backbone()) | pre('target_net.0.', backbone(2))
    return dict(state_dict=names | linear('head.predictor.mlp.0') | pre('backbone.', backbone()))


def lightly():
    names = pre('backbone.', sequential(backbone())) | pre('backbone_momentum.', sequential(backbone(2)))
    return dict(state_dict=names | linear('prediction_head.layers.0'))


def vicreg():
    return dict(epoch=9, model=pre('module.backbone.', backbone()) | linear('module.projector.0'))


def detectron2():
    arrays = {k: v.numpy() for k, v in to_detectron2(backbone()).items()}
    return dict(model=arrays, __author__='torchvision', matching_heuristics=True)


def caffe2():
    """Detectron's R-50: a scale and a shift in place of each batch norm, for undivided BGR images.

    And the same under mmdet's names, with the statistics that make no difference.
    """
    parts = {'conv1': 'branch2a', 'conv2': 'branch2b', 'conv3': 'branch2c', 'downsample': 'branch1'}
    arrays, names = {}, {}
    net = state(MODELS.build(dict(type='mmdet.ResNet', depth=50, base_channels=8)))
    for key, value in net.items():
        match = re.match(r'layer(\d)\.(\d+)\.(conv\d|bn\d|downsample)(?:\.(\d))?\.(weight|bias)$', key)
        if match:
            layer, block, part, place, leaf = match.groups()
            norm = place == '1' or part.startswith('bn')
            name = f'res{int(layer) + 1}_{block}_{parts[part.replace("bn", "conv")]}'
        elif key in ('conv1.weight', 'bn1.weight', 'bn1.bias'):
            norm, leaf, name = key[0] == 'b', key.split('.')[1], 'res_conv1' if key[0] == 'b' else 'conv1'
        else:
            continue
        value = value * 0.01 if key == 'bn1.weight' else value
        names[key] = value
        if norm:
            names[key.replace(leaf, 'running_mean')] = torch.zeros_like(value)
            names[key.replace(leaf, 'running_var')] = torch.full_like(value, 1 - 1e-5)
        arrays[f'{name}_bn_{leaf[0].replace("w", "s")}' if norm else f'{name}_w'] = value.numpy()
    return arrays, names


def mm_caffe():
    """mmdet's caffe ResNet-50: BGR images minus a mean, stride in the first 1x1 convolution."""
    cfg = (
        "model = dict(type='FasterRCNN', data_preprocessor=dict(mean=[103.53, 116.28, 123.675], "
        "std=[1.0, 1.0, 1.0], bgr_to_rgb=False), backbone=dict(type='ResNet', depth=50, style='caffe'))"
    )
    net = MODELS.build(dict(type='mmdet.ResNet', depth=50, style='caffe', base_channels=8))
    names = pre('backbone.', state(net)) | linear('rpn_head.rpn_conv') | linear('roi_head.bbox_head.fc_cls')
    return dict(meta=dict(cfg=cfg), state_dict=names)


def mmseg_v1c():
    net = MODELS.build(dict(type='mmseg.ResNetV1c', depth=18, base_channels=8, stem_channels=8))
    return dict(meta={}, state_dict=pre('backbone.', state(net)) | linear('decode_head.conv_seg'))


def vit(**options):
    return state(timm.models.VisionTransformer(**{**VIT, 'num_heads': 1, **options}))


def dino(**student):
    other = pre('module.backbone.', vit(num_heads=1)) | linear('module.head.last_layer')
    teacher = pre('backbone.', vit() | {'pos_embed': vit()['pos_embed']}) | linear('head.last_layer')
    return dict(student=other | student, teacher=teacher, epoch=3)


def ibot():
    content = dino()
    content['teacher'] |= {'backbone.masked_embed': torch.zeros(1, 32)}
    return content


def mocov3():
    sizes = dict(embed_dim=48, num_heads=12)
    names = pre('module.base_encoder.', vit(**sizes)) | pre('module.momentum_encoder.', vit(**sizes))
    return dict(arch='vit_small', state_dict=names)


def dinov2():
    names = vit(init_values=1.0) | {'mask_token': torch.zeros(1, 32)}
    names = {k: v for k, v in names.items() if not k.startswith('head.')}
    return names


def dinov2_chunks():
    """A checkpoint of its training: blocks in chunks, under the teacher."""
    names = dinov2()
    return dict(teacher={'backbone.' + re.sub(r'^blocks\.', 'blocks.0.', k): v for k, v in names.items()})


def dinov2_registers():
    return dinov2() | {'register_tokens': torch.randn(1, 4, 32)}


def dinov3():
    """As facebookresearch writes it: a bias of query, key and value of which the key's is masked."""
    net, names = timm_dinov3(), {}
    for key, value in net.items():
        if key.endswith('q_bias'):
            masked = torch.full_like(value, 0.3)
            bias = [value, torch.zeros_like(value), net[key.replace('q_bias', 'v_bias')]]
            names[key.replace('q_bias', 'qkv.bias')] = torch.cat(bias)
            names[key.replace('q_bias', 'qkv.bias_mask')] = masked.repeat(3)
        elif not key.endswith('v_bias'):
            names[re.sub(r'gamma_(\d)', r'ls\1.gamma', key).replace('reg_token', 'storage_tokens')] = value
    return names | {'rope_embed.periods': torch.ones(16), 'mask_token': torch.zeros(1, 64)}


def timm_dinov3(arch='vit_small_patch16_dinov3_qkvb'):
    sizes = dict(embed_dim=64, depth=2, num_heads=1, img_size=32, num_classes=0)
    return state(timm.create_model(arch, **sizes))


def dinov3_gated():
    """S+, H+ and the 7B: two layers w1 and w2 and what closes them, w3; no bias of query, key and value."""
    gated = {'fc1_g': 'w1', 'fc1_x': 'w2', 'fc2': 'w3'}
    names = {}
    for key, value in timm_dinov3('vit_small_plus_patch16_dinov3').items():
        key = re.sub(r'fc1_g|fc1_x|fc2', lambda match: gated[match[0]], key)
        names[re.sub(r'gamma_(\d)', r'ls\1.gamma', key).replace('reg_token', 'storage_tokens')] = value
    norm = {f'local_cls_norm.{part}': torch.ones(64) for part in ('weight', 'bias')}
    return names | norm | {'rope_embed.periods': torch.ones(16), 'mask_token': torch.zeros(1, 64)}


def dinov2_giant():
    """Its gated layers are packed in one, w12."""
    net = timm.create_model('vit_giant_patch14_dinov2', **{**VIT, 'num_classes': 0}, num_heads=1)
    names = {re.sub(r'mlp\.fc2', 'mlp.w3', k.replace('mlp.fc1', 'mlp.w12')): v for k, v in state(net).items()}
    return names | {'mask_token': torch.zeros(1, 32)}


def capi():
    """Encoder and predictor as facebookresearch writes them, and the encoder alone under timm's names."""
    net = MODELS.build(dict(
        type='TimmViT', arch='vit_large_patch14_capi', img_size=32, patch_size=8, embed_dim=64, depth=2,
        num_heads=1, num_reg_tokens=4,
    ))  # fmt: skip
    names, own = {}, state(net)
    for key, value in own.items():
        block = re.sub(r'^blocks', 'encoder.blocks', key)
        block = re.sub(r'norm(\d)', r'residual\1.norm', block).replace('.attn.', '.residual1.fn.')
        block = block.replace('.mlp.', '.residual2.fn.').replace('patch_embed.proj.', 'patch_embed.')
        if 'qkv' in key:
            for part, rows in zip('qkv', value.chunk(3), strict=True):
                names[block.replace('qkv', f'{part}_proj')] = rows
                names[block.replace('qkv.weight', 'rope.freqs')] = torch.ones(2, 64)
        else:
            names[block.replace('reg_token', 'registers')] = value
    other = {k.replace('encoder', 'decoder'): v + 1 for k, v in names.items() if 'encoder' in k}
    return pre('backbone.', names | other | {'mask_token': torch.zeros(1, 64)}), own


def torchvision_vit():
    return state(torchvision.models.VisionTransformer(32, 8, 2, 1, 32, 128, num_classes=3))


def mmseg_vit():
    sizes = dict(img_size=32, patch_size=8, embed_dims=32, num_layers=2, num_heads=1)
    net = MODELS.build(dict(type='mmseg.VisionTransformer', patch_bias=True, final_norm=True, **sizes))
    return dict(state_dict=pre('backbone.', state(net)) | linear('decode_head.conv_seg'))


def convnext_official(second=False):
    """facebookresearch's names, made of timm's; version 2 has its response norms as (1, 1, 1, C)."""
    sizes = dict(depths=(1, 2, 1, 1), dims=(8, 16, 24, 32), num_classes=3)
    net = state(timm.create_model('convnextv2_tiny' if second else 'convnext_tiny', **sizes))
    rules = (
        (r'^stem\.', 'downsample_layers.0.'), (r'^stages\.(\d)\.downsample\.', r'downsample_layers.\1.'),
        (r'\.blocks\.', '.'), ('conv_dw', 'dwconv'), (r'mlp\.fc', 'pwconv'), ('head.norm', 'norm'),
        ('head.fc', 'head'), (r'mlp\.grn\.weight', 'grn.gamma'), (r'mlp\.grn\.bias', 'grn.beta'),
    )  # fmt: skip
    names = {}
    for key, value in net.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        names[key] = value[None, None, None] if '.grn.' in key else value
    return dict(model=names)


def convnextv2():
    return convnext_official(second=True)


def timm_convnext():
    return of_timm('convnext_atto', dims=(8, 16, 24, 32))


def torchvision_convnext():
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    blocks = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, 24, 2), CNBlockConfig(24, 32, 1)]
    return state(ConvNeXt([*blocks, CNBlockConfig(32, None, 1)], num_classes=3))


def swin_sizes(**names):
    sizes = dict(embed_dim=16, depths=(1, 2, 1, 2), num_heads=(1, 1, 2, 2), window_size=4)
    return {names.get(key, key): value for key, value in sizes.items()}


def timm_swin():
    net = timm.create_model('swin_tiny_patch4_window7_224', num_classes=3, img_size=128, **swin_sizes())
    return state(net)


def swin():
    """Microsoft's names: patches are merged behind a stage, and a table is stored that can be computed."""
    names = timm_swin()
    shift = lambda m: f'layers.{int(m[1]) - 1}.downsample'  # noqa: E731
    names = {re.sub(r'^layers\.(\d)\.downsample', shift, k): v for k, v in names.items()}
    return dict(model=names | {'layers.0.blocks.0.attn.relative_position_index': torch.zeros(16, 16).long()})


def torchvision_swin():
    net = torchvision.models.SwinTransformer([4, 4], 16, [1, 2, 1, 2], [1, 1, 2, 2], [4, 4], num_classes=3)
    return state(net)


def mmdet_swin():
    net = MODELS.build(dict(type='mmdet.SwinTransformer', **swin_sizes(embed_dim='embed_dims')))
    return dict(meta={}, state_dict=pre('backbone.', state(net)) | linear('rpn_head.rpn_conv'))


def of_torchvision(name):
    return state(torchvision.models.get_model(name, num_classes=3))


def of_timm(name, **options):
    return state(timm.create_model(name, num_classes=3, **options))


def hf_vit(registers=False):
    """transformers' ViTModel or Dinov2WithRegistersModel, and the same under timm's names."""
    own = vit(init_values=1.0) if registers else vit()
    names = {}
    scheme = ('norm1', 'norm2', 'mlp.fc1', 'mlp.fc2') if registers else (
        'layernorm_before', 'layernorm_after', 'intermediate.dense', 'output.dense')  # fmt: skip
    rules = (
        (r'^(cls_token)$', r'embeddings.\1'), (r'^pos_embed$', 'embeddings.position_embeddings'),
        (r'^patch_embed\.proj', 'embeddings.patch_embeddings.projection'), (r'^norm\.', 'layernorm.'),
        (r'\bnorm1\.', f'{scheme[0]}.'), (r'\bnorm2\.', f'{scheme[1]}.'),
        (r'mlp\.fc1', scheme[2]), (r'mlp\.fc2', scheme[3]), (r'ls(\d)\.gamma', r'layer_scale\1.lambda1'),
        (r'^blocks\.', 'encoder.layer.'), (r'attn\.proj', 'attention.output.dense'),
    )  # fmt: skip
    for key, value in own.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        if '.attn.qkv.' in key:
            for part, tensor in zip(('query', 'key', 'value'), value.chunk(3), strict=True):
                names[key.replace('attn.qkv', f'attention.attention.{part}')] = tensor
        elif not key.startswith('head.'):
            names[key] = value
    if registers:
        names['embeddings.register_tokens'] = torch.randn(1, 4, 32)
        names['embeddings.mask_token'] = torch.zeros(1, 32)
        positions = own['pos_embed']
        own = own | dict(reg_token=names['embeddings.register_tokens'], pos_embed=positions[:, 1:])
        own |= dict(cls_token=own['cls_token'] + positions[:, :1])
    return names, own


def hf_dinov2():
    return hf_vit(registers=True)


def hf_dinov3():
    """transformers' DINOv3ViTModel, whose key has no bias, and the same under timm's names."""
    own, names = timm_dinov3(), {}
    rules = (
        (r'^(cls_token)$', r'embeddings.\1'), (r'^reg_token$', 'embeddings.register_tokens'),
        (r'^patch_embed\.proj', 'embeddings.patch_embeddings'), (r'^blocks\.', 'layer.'),
        (r'attn\.proj', 'attention.o_proj'), (r'attn\.(q|v)_bias', r'attention.\1_proj.bias'),
        (r'mlp\.fc1', 'mlp.up_proj'), (r'mlp\.fc2', 'mlp.down_proj'),
        (r'gamma_(\d)', r'layer_scale\1.lambda1'),
    )  # fmt: skip
    for key, value in own.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        if key.endswith('attn.qkv.weight'):
            for part, tensor in zip('qkv', value.chunk(3), strict=True):
                names[key.replace('attn.qkv', f'attention.{part}_proj')] = tensor
        else:
            names[key] = value
    return names | {'embeddings.mask_token': torch.zeros(1, 1, 64)}, own


def hf_resnet():
    rules = (
        (r'^conv1\.', 'embedder.embedder.convolution.'), (r'^bn1\.', 'embedder.embedder.normalization.'),
        (r'^layer(\d)\.(\d)\.', lambda m: f'encoder.stages.{int(m[1]) - 1}.layers.{m[2]}.'),
        (r'downsample\.0', 'shortcut.convolution'), (r'downsample\.1', 'shortcut.normalization'),
        (r'(?<=\d\.)conv(\d)', lambda m: f'layer.{int(m[1]) - 1}.convolution'),
        (r'(?<=\d\.)bn(\d)', lambda m: f'layer.{int(m[1]) - 1}.normalization'),
    )  # fmt: skip
    names = {}
    for key, value in backbone().items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        names[f'resnet.{key}'] = value
    return names | linear('classifier.1'), backbone()


def hf_convnext():
    official = convnext_official()['model']
    rules = (
        (r'^downsample_layers\.0\.0\.', 'embeddings.patch_embeddings.'),
        (r'^downsample_layers\.0\.1\.', 'embeddings.layernorm.'),
        (r'^downsample_layers\.(\d)\.', r'encoder.stages.\1.downsampling_layer.'),
        (r'^stages\.(\d)\.(\d)\.norm\.', r'encoder.stages.\1.layers.\2.layernorm.'),
        (r'^stages\.(\d)\.(\d)\.', r'encoder.stages.\1.layers.\2.'), (r'^norm\.', 'layernorm.'),
        (r'gamma$', 'layer_scale_parameter'),
    )  # fmt: skip
    names = {}
    for key, value in official.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        names[f'convnext.{key}'] = value
    sizes = dict(depths=(1, 2, 1, 1), dims=(8, 16, 24, 32), features_only=True)
    own = timm.create_model('convnext_tiny', **sizes).state_dict()
    # timm's order is that of the official names.
    return names, dict(
        zip(own, [v for k, v in official.items() if k[:4] not in ('norm', 'head')], strict=True)
    )


def write(content, path):
    """As the suffix says."""
    if path.suffix == '.pkl':
        path.write_bytes(pickle.dumps(content))
    elif path.suffix == '.safetensors':
        save_file({k: v.contiguous() for k, v in content.items()}, str(path))
    else:
        torch.save(content, path)
    return path


def write_folder(content, config, folder):
    """As Hugging Face's libraries write a model."""
    folder.mkdir()
    (folder / 'config.json').write_text(json.dumps(config))
    if 'architecture' not in config:
        said = dict(image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.2, 0.1])
        (folder / 'preprocessor_config.json').write_text(json.dumps(said))
    write(content, folder / 'model.safetensors')
    return folder
