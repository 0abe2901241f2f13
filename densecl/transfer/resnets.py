"""ResNets, ResNeXts and wide ResNets of every project, under the names that mmdet and torchvision share."""

from collections.abc import Callable

import torch
import torchvision
from torch import Tensor, nn

from .check import backbone_features
from .dialects import backbone_part, depth_of, stem_of
from .network import Hints, Network, filled
from .rename import Rules, renamed

_SEQUENTIAL: Rules = (
    (r'^0\.', 'conv1.'), (r'^1\.', 'bn1.'), (r'^4\.', 'layer1.'), (r'^5\.', 'layer2.'),
    (r'^6\.', 'layer3.'), (r'^7\.', 'layer4.'),
)  # fmt: skip
# A stem of three convolutions is a sequence and a norm in timm, and a single sequence in mm.
_DEEP_TIMM: Rules = ((r'^conv1\.(?=\d)', 'stem.'), (r'^bn1\.', 'stem.7.'))
_CAFFE2: Rules = (
    (r'^conv1_w$', 'conv1.weight'), (r'^res_conv1_bn_', 'bn1.bn_'),
    (r'^res(\d)_(\d+)_', r'layer@\1.\2.'), (r'branch1_bn_', 'downsample.1.bn_'),
    (r'branch1_w', 'downsample.0.weight'), (r'branch2a_bn_', 'bn1.bn_'), (r'branch2b_bn_', 'bn2.bn_'),
    (r'branch2c_bn_', 'bn3.bn_'), (r'branch2a_w', 'conv1.weight'), (r'branch2b_w', 'conv2.weight'),
    (r'branch2c_w', 'conv3.weight'), (r'bn_s$', 'weight'), (r'bn_b$', 'bias'),
    (r'^layer@2', 'layer1'), (r'^layer@3', 'layer2'), (r'^layer@4', 'layer3'), (r'^layer@5', 'layer4'),
)  # fmt: skip
_HF_LAYER = r'^encoder\.stages\.(\d)\.layers\.(\d+)\.'
_HUGGING_FACE: Rules = (
    (r'^embedder\.embedder\.convolution\.', 'conv1.'), (r'^embedder\.embedder\.normalization\.', 'bn1.'),
    (_HF_LAYER, r'layer@\1.\2.'), (r'shortcut\.convolution', 'downsample.0'),
    (r'shortcut\.normalization', 'downsample.1'), (r'\.layer\.0\.convolution', '.conv1'),
    (r'\.layer\.0\.normalization', '.bn1'), (r'\.layer\.1\.convolution', '.conv2'),
    (r'\.layer\.1\.normalization', '.bn2'), (r'\.layer\.2\.convolution', '.conv3'),
    (r'\.layer\.2\.normalization', '.bn3'), (r'^layer@0', 'layer1'), (r'^layer@1', 'layer2'),
    (r'^layer@2', 'layer3'), (r'^layer@3', 'layer4'),
)  # fmt: skip
#: Pixel means of detectron2's and mm's caffe ResNets, BGR; images are 0 to 255, with a std of 1.
CAFFE_MEAN, CAFFE_STD = (103.53, 116.28, 123.675), (1.0, 1.0, 1.0)


def read_resnet(tensors: dict[str, Tensor], hints: Hints, names: str) -> Network | None:
    """Read a ResNet with the names of torchvision, timm or mm (no prefix)."""
    if 'conv1.0.weight' in tensors:
        names, own = 'timm', tensors
        tensors = renamed(tensors, _DEEP_TIMM)
        return _network(tensors, hints, names, _timm_map(own, tensors))
    return _network(tensors, hints, names, _torchvision_map(tensors))


def read_sequential_resnet(tensors: dict[str, Tensor], hints: Hints, names: str) -> Network | None:
    """Read the children of torchvision's ResNet as a sequence, as lightly saves them."""
    return read_resnet(renamed(tensors, _SEQUENTIAL), hints, names)


def read_hf_resnet(tensors: dict[str, Tensor], hints: Hints, names: str) -> Network | None:
    """Read ``ResNetModel`` of transformers."""
    return _network(renamed(tensors, _HUGGING_FACE), hints, names, None)


def read_caffe2_resnet(tensors: dict[str, Tensor], hints: Hints, names: str) -> Network | None:
    """Read Detectron's ImageNet models (``R-50.pkl``): their batch norms are only a scale and a shift."""
    tensors = renamed(tensors, _CAFFE2)
    norms = [k.removesuffix('.weight') for k, t in tensors.items() if k.endswith('weight') and t.ndim == 1]
    for norm in norms:
        tensors[f'{norm}.running_mean'] = torch.zeros_like(tensors[f'{norm}.weight'])
        # A variance with which sqrt(var + eps) is 1 for the usual eps.
        tensors[f'{norm}.running_var'] = torch.full_like(tensors[f'{norm}.weight'], 1 - 1e-5)
    return _network(tensors, hints, names, None)


def _network(tensors: dict, hints: Hints, names: str, original: Callable | None) -> Network | None:
    part = backbone_part(tensors)
    depth = depth_of(part)
    if depth is None or stem_of(part) is None:
        return None
    images = _images(part, hints)
    style = hints.record.get('style') or ('caffe' if images else 'pytorch')
    backbone, title = _config(part, depth, style)
    if style == 'caffe' and depth >= 50:
        original = None  # torchvision has the stride in the 3x3 convolution
    return Network(title, backbone, part, names, original=original, **images)


def _images(tensors: dict[str, Tensor], hints: Hints) -> dict:
    """Normalisation if it is not torchvision's; known from the file or from the size of the first filters."""
    if hints.record.get('mean') or not _takes_undivided_images(tensors):
        return {}
    note = (
        'the first filters are those of images that are not divided by a standard deviation: taken as '
        "caffe's, BGR minus the mean, stride in the first 1x1 convolution"
    )
    return dict(mean=CAFFE_MEAN, std=CAFFE_STD, channel_order='BGR', notes=[note])


def _takes_undivided_images(tensors: dict[str, Tensor]) -> bool:
    """Whether the first layer expects input values of about 60, and not of about 1.

    The norm of its filters times the scale of its batch norm is 0.1 to 10 for normalised images, and 60 times
    smaller otherwise.
    """
    if 'bn1.running_var' not in tensors:
        return False
    gain = tensors['bn1.weight'].float().abs() / (tensors['bn1.running_var'].float() + 1e-5).sqrt()
    return (tensors['conv1.weight'].float().flatten(1).norm(dim=1) * gain).median().item() < 0.06


def _config(tensors: dict[str, Tensor], depth: int, style: str) -> tuple[dict, str]:
    bottleneck = 'layer1.0.conv3.weight' in tensors
    conv = tensors['layer1.0.conv2.weight']
    width, groups = len(conv), len(conv) // conv.shape[1]
    planes = len(tensors['layer1.0.conv3.weight']) // 4 if bottleneck else width
    deep = stem_of(tensors) == 'deep'
    shared = dict(depth=depth, norm_eval=False)
    if groups == 1 and width != planes:
        return dict(type='TorchvisionResNet', arch=f'wide_resnet{depth}_2'), f'Wide ResNet-{depth}'
    shared |= dict(deep_stem=True) if deep else {}
    shared |= dict(avg_down=True) if 'layer2.0.downsample.2.weight' in tensors else {}
    shared |= dict(style=style) if bottleneck else {}
    if groups > 1:
        kind = dict(type='mmdet.ResNeXt', groups=groups, base_width=conv.shape[1])
        return {**kind, **shared}, f'ResNeXt-{depth} {groups}x{conv.shape[1]}d'
    shared |= dict(base_channels=planes) if planes != 64 else {}
    suffix = {(True, True): 'd', (True, False): 'c'}.get((deep, 'avg_down' in shared), '')
    return dict(type='mmdet.ResNet', **shared), f'ResNet-{depth}{suffix}'


def _torchvision_map(tensors: dict[str, Tensor]) -> Callable[[Tensor], Tensor] | None:
    """torchvision's ResNet with the file's tensors; None if torchvision has no such network."""
    if stem_of(tensors) != 'plain' or len(tensors['conv1.weight']) != 64:
        return None

    def last_map(images: Tensor) -> Tensor:
        model = filled(_blocks(torchvision.models.resnet, tensors), backbone_part(tensors), ('fc.',))
        with torch.no_grad():
            return backbone_features(model, images)[-1]

    return last_map


def _timm_map(own: dict, tensors: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    def last_map(images: Tensor) -> Tensor:
        from timm.models import resnet

        stem = dict(stem_type='deep', stem_width=len(own['conv1.0.weight']))
        stem['avg_down'] = 'layer2.0.downsample.2.weight' in own
        kept = {k: v for k, v in own.items() if not k.startswith('fc.')}
        model = filled(_blocks(resnet, tensors, **stem), kept, ('fc.',))
        with torch.no_grad():
            return model.forward_features(images)

    return last_map


def _blocks(library, tensors: dict[str, Tensor], **options) -> nn.Module:
    """Build a ResNet from torchvision's or timm's module, with the sizes of the tensors."""
    bottleneck = 'layer1.0.conv3.weight' in tensors
    conv = tensors['layer1.0.conv2.weight']
    layers = [len({k.split('.')[1] for k in tensors if k.startswith(f'layer{i}.')}) for i in range(1, 5)]
    if bottleneck and library is torchvision.models.resnet:
        options |= dict(groups=len(conv) // conv.shape[1], width_per_group=conv.shape[1])
    with torch.device('meta'):
        return library.ResNet(library.Bottleneck if bottleneck else library.BasicBlock, layers, **options)
