"""Stock configs of mmdet and mmseg made small enough to try on a CPU."""

from pathlib import Path
from typing import Any

from mmengine.config import Config

from densecl.compat.packages import get_installed_path

# Channels of ResNet-50's stages and of ResNet-18's in their place.
_CHANNELS = {256: 64, 512: 128, 1024: 256, 2048: 512}
_FEWER = {
    'num_queries': 20,
    'sos_token_num': 20,  # SAN's name for its queries
    'num_proposals': 20,
    'nms_pre': 50,
    'max_per_img': 5,  # mask heads in bfloat16 are slow without a CPU that has it
}


def small_config(name: str, size: int = 96, depth: int | None = 18) -> Config:
    """Return a stock config, reduced.

    Args:
        name: As in ``_base_``, e.g. ``mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py``.
        size: Side of the images in pixels.
        depth: Depth of a ResNet backbone; None keeps it.

    Returns:
        The config without weights to download, SyncBN replaced by BN, with few proposals.
    """
    package, _, path = name.partition('::')
    cfg = Config.fromfile(Path(get_installed_path(package)) / '.mim' / 'configs' / path)
    model = cfg.model
    plain_resnet = model.get('backbone', {}).get('type') in ('ResNet', 'ResNetV1c')
    if depth in (18, 34) and plain_resnet:
        _make_shallow(model, depth)
    _simplify(model, size)
    return cfg


def loads_masks(cfg: Config) -> bool:
    """Return whether the training pipeline of a detector brings masks."""
    pipeline = str(cfg.get('train_pipeline', cfg.get('train_dataloader')))
    return "'with_mask': True" in pipeline or 'Panoptic' in pipeline


def fewest_classes(node: Any) -> int:
    """Return the smallest number of classes of any head, 2 if none says."""
    found: list[int] = []

    def visit(node: Any) -> None:
        children = node.values() if isinstance(node, dict) else node
        if isinstance(node, dict) and isinstance(node.get('num_classes'), int):
            found.append(node['num_classes'])
        for child in children:
            if isinstance(child, (dict, list, tuple)):
                visit(child)

    visit(node)
    return max(1, min(found, default=2))


def _make_shallow(model: dict, depth: int) -> None:
    """Replace a ResNet-50 by a shallower one and tell its users about the channels."""
    model['backbone']['depth'] = depth
    has_neck = model.get('neck') is not None
    users = [model['neck']] if has_neck else _heads(model)
    for user in users:
        _replace_channels(user[0] if isinstance(user, list) else user)


def _heads(model: dict) -> list[dict]:
    """Return the heads of a segmentor, whether it has one or several of a kind."""
    found = []
    for key in ('decode_head', 'auxiliary_head'):
        head = model.get(key) or []
        found += head if isinstance(head, list) else [head]
    return found


def _replace_channels(user: dict) -> None:
    for key in ('in_channels', 'c1_in_channels'):
        value = user.get(key)
        if isinstance(value, (list, tuple)):
            user[key] = [_CHANNELS.get(v, v) for v in value]
        elif value is not None:
            user[key] = _CHANNELS.get(value, value)


def _simplify(node: Any, size: int) -> None:
    """Drop weights to download, SyncBN and large numbers, everywhere below ``node``."""
    if isinstance(node, (list, tuple)):
        for child in node:
            _simplify(child, size)
    if not isinstance(node, dict):
        return
    if (node.get('init_cfg') or {}) and _is_download(node['init_cfg']):
        node['init_cfg'] = None
    for key in ('pretrained', 'checkpoint_file', 'teacher_ckpt'):
        if key in node:
            node[key] = None
    if node.get('type') in ('SyncBN', 'MMSyncBN', 'NaiveSyncBatchNorm'):
        node['type'] = 'BN'
    if 'SegDataPreProcessor' in str(node.get('type')):
        node['size'], node['size_divisor'] = (size, size), None
    if isinstance(node.get('teacher_config'), str):
        configs = Path(get_installed_path('mmdet')) / '.mim'
        node['teacher_config'] = str(configs / node['teacher_config'])
    if 'batch_augments' in node:
        node['batch_augments'] = None  # some pad to the full size of a recipe
    if 'img_size' in node:
        node['img_size'] = (size, size)
    if node.get('mode') == 'slide':
        node['crop_size'], node['stride'] = (size, size), (size, size)
    if 'score_thr' in node:
        node['score_thr'] = 0.0  # an untrained model is sure of nothing
    for key, most in _FEWER.items():
        if isinstance(node.get(key), int):
            node[key] = min(node[key], most)
    for child in list(node.values()):
        _simplify(child, size)


def _is_download(init_cfg: Any) -> bool:
    return isinstance(init_cfg, dict) and 'checkpoint' in init_cfg
