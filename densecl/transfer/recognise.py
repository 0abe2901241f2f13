"""Recognises a network by the names and shapes of its tensors."""

from dataclasses import replace

import torch
from torch import Tensor

from densecl.inputs import parse_config
from densecl.registry import MODELS

from .clip import read_clip
from .clip_resnet import read_clip_resnet
from .convnext import read_convnext
from .dialects import backbone_part
from .efficientnet import read_efficientnet
from .export import find_prefix
from .network import Hints, Network
from .prefixes import branch_of, counted, under, without_heads
from .projects import Project
from .read import Weights
from .record import FORMAT, evaluated_branch, training_record
from .regions import stage_part
from .resnets import read_caffe2_resnet, read_hf_resnet, read_resnet, read_sequential_resnet
from .swin import read_swin
from .timm_names import own_names, whole_names
from .vit import to_dialect, vit_dialect
from .vits import read_capi, read_vit

# A tensor's name that shows a network's prefix in a file; the project of the names; the function that reads
# them. If two names have the same end, the longer one must come first.
_FORMS = (
    ('layer1.0.conv1.weight', 'CLIP', read_clip_resnet),
    ('stages.0.0.conv1_1x1.conv.weight', 'timm', read_clip_resnet),
    ('layer1.0.conv1.weight', 'torchvision', read_resnet),
    ('4.0.conv1.weight', 'torchvision', read_sequential_resnet),
    ('encoder.stages.0.layers.0.layer.0.convolution.weight', 'Hugging Face', read_hf_resnet),
    ('res2_0_branch2a_w', 'Caffe2', read_caffe2_resnet),
    ('stages.0.blocks.0.conv_dw.weight', 'timm', read_convnext),
    ('encoder.stages.0.layers.0.dwconv.weight', 'Hugging Face', read_convnext),
    ('stages.0.0.dwconv.weight', 'official', read_convnext),
    ('stages.0.0.depthwise_conv.weight', 'official', read_convnext),
    ('features.1.0.layer_scale', 'torchvision', read_convnext),
    ('layers.0.blocks.0.attn.relative_position_bias_table', 'timm', read_swin),
    ('stages.0.blocks.0.attn.w_msa.relative_position_bias_table', 'mm', read_swin),
    ('features.1.0.attn.relative_position_bias_table', 'torchvision', read_swin),
    ('_conv_stem.weight', 'efficientnet_pytorch', read_efficientnet),
    ('conv_stem.weight', 'timm', read_efficientnet),
    ('features.0.0.weight', 'torchvision', read_efficientnet),
    ('encoder.blocks.0.residual1.norm.weight', 'CAPI', read_capi),
    ('patch_embed.proj.weight', 'timm', read_vit),
    ('patch_embed.projection.weight', 'mm', read_vit),
    ('conv_proj.weight', 'torchvision', read_vit),
    ('class_embedding', 'CLIP', read_clip),
    ('embeddings.patch_embeddings.projection.weight', 'Hugging Face', read_vit),
    ('embeddings.patch_embeddings.weight', 'Hugging Face', read_vit),
)
#: Settings of a backbone that are only for one training.
OF_THE_RUN = (
    'out_indices', 'init_cfg', 'pretrained', 'strides', 'dilations', 'num_stages', 'output_stride',
    'frozen_stages', 'drop_path', 'drop_path_rate', 'drop_path_law', 'freeze_patch_embed', 'output_cls_token',
    'init', 'hidden', 'rope_rescale', 'class_path', 'output_attention',
)  # fmt: skip
KNOWN = 'ResNet (that of CLIP, too), ResNeXt, ConvNeXt, EfficientNet, MobileNetV3, Swin, ViT with class token'


def recognise(weights: Weights, project: Project, hints: Hints) -> tuple[Network, str, str]:
    """The network in a file, its branch, and the prefix of its names.

    Args:
        weights: the file's tensors.
        project: the file's project, which decides between two encoders.
        hints: further information; the file's own record is added.

    Raises:
        ValueError: the file has no known network.
    """
    tensors = whole_names(weights.tensors)
    said = weights.meta.get('branch') if weights.meta.get('format') == FORMAT else None
    first = said or ('target' if project.branch == 'target' else evaluated_branch(weights))
    found = _by_names(weights, tensors, hints, first)
    own = _of_config(weights, first)
    if own is None:
        if found is None:
            raise ValueError(_unknown(weights))
        return found
    network, branch, prefix = own
    return (network if found is None else replace(network, title=found[0].title)), branch, prefix


def _by_names(weights: Weights, tensors: dict, hints: Hints, first: str) -> tuple[Network, str, str] | None:
    said = weights.meta.get('branch') if weights.meta.get('format') == FORMAT else None
    for mark, names, read in _FORMS:
        for prefix in _prefixes(tensors, mark, first):
            part = under(tensors, prefix)
            branch = said or branch_of(prefix)
            record = training_record(weights, part, branch)
            network = read(part, replace(hints, record=record, names=tensors), weights.names or names)
            if network is not None:
                return replace(network, record=record), branch, prefix
    return None


def _of_config(weights: Weights, branch: str) -> tuple[Network, str, str] | None:
    """The backbone of a densecl file's own config, if the file's tensors fill it; else None."""
    record = training_record(weights, {}, branch)
    model = parse_config(record['config']).get('model') or {}
    config = model.get('backbone')
    if not config or not (weights.meta.get('format') == FORMAT or model.get('heads')):
        return None
    prefix = find_prefix(weights, branch)
    given = stage_part(weights.tensors, prefix) | backbone_part(under(weights.tensors, prefix))
    config = {k: v for k, v in config.items() if k not in OF_THE_RUN}
    with torch.device('meta'):
        wanted = MODELS.build(config).state_dict()
    given = own_names(to_dialect(given, vit_dialect(wanted)), wanted)
    if any(k not in given or given[k].shape != v.shape for k, v in counted(wanted).items()):
        return None
    tensors = {k: given[k] for k in wanted if k in given}
    record = training_record(weights, tensors, branch)
    return Network(str(config['type']), config, tensors, 'densecl', record=record), branch, prefix


def _prefixes(tensors: dict[str, Tensor], mark: str, first: str) -> list[str]:
    found = {key.removesuffix(mark) for key in tensors if key.endswith(mark)}
    found = without_heads({p for p in found if not p or p.endswith('.')})
    return sorted(found, key=lambda p: (branch_of(p) != first, len(p), p))


def _unknown(weights: Weights) -> str:
    names = ', '.join(list(weights.tensors)[:4])
    return (
        f'{weights.source} holds no network that is known: {len(weights.tensors)} tensors, '
        f'the first are {names}; known are {KNOWN}, see docs/starting-weights.md'
    )
