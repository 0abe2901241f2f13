"""Try a stock config of mmdet or mmseg: build it small, train one step, predict once.

Used by the tests and by ``tools/support_matrix.py``; nothing is downloaded.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from torch import Tensor

from .packages import get_installed_path

# Channels of ResNet-50's stages and of ResNet-18's in their place.
_CHANNELS = {256: 64, 512: 128, 1024: 256, 2048: 512}
_FEWER = {'num_queries': 20, 'num_proposals': 20, 'nms_pre': 50, 'max_per_img': 20}


class Trial(NamedTuple):
    """What came out: the training losses and the prediction for one image."""

    losses: dict[str, float]
    prediction: Any


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


def try_model(name: str, size: int = 96, depth: int | None = 18, device: str = 'cpu') -> Trial:
    """Build the model of a stock config, train it one step and predict.

    Args:
        name: As for `small_config`.
        size: Side of the images in pixels.
        depth: Depth of a ResNet backbone; None keeps it.
        device: Where to run.

    Raises:
        FloatingPointError: If a loss is not finite or no parameter got a gradient.
        NotImplementedError: If the model needs an operator without a stand-in.
    """
    cfg = small_config(name, size, depth)
    torch.manual_seed(0)
    model = build(cfg).to(device)
    scope = cfg.get('default_scope', name.partition('::')[0])
    batch = segmentation_batch if scope == 'mmseg' else detection_batch
    data = batch(size, _fewest_classes(cfg.model))
    if scope != 'mmseg' and not _loads_masks(cfg):
        for sample in data['data_samples']:
            del sample.gt_instances.masks
    losses = train_step(model, data)
    model.eval()
    with torch.no_grad():
        prediction = model.test_step(batch(size, 2, count=1))[0]
    return Trial(losses, prediction)


def build(cfg: Config) -> torch.nn.Module:
    """Return the initialised model of a mmdet or mmseg config."""
    scope = cfg.get('default_scope', 'mmdet')
    if scope == 'mmseg':
        from mmseg.registry import MODELS
        from mmseg.utils import register_all_modules
    else:
        from mmdet.registry import MODELS
        from mmdet.utils import register_all_modules
    register_all_modules(init_default_scope=True)
    model = MODELS.build(cfg.model)
    model.init_weights()
    _pretend_first_iteration(model)
    return model


def _pretend_first_iteration(model: torch.nn.Module) -> None:
    """Set what a runner tells models and batch augmentations about its progress."""
    from mmengine.logging import MessageHub

    hub = MessageHub.get_current_instance()
    for key, value in {'iter': 0, 'epoch': 0, 'max_iters': 1, 'max_epochs': 1}.items():
        hub.update_info(key, value)
    for module in model.modules():
        if hasattr(module, 'epoch'):
            module.epoch = 0


def train_step(model: torch.nn.Module, data: dict) -> dict[str, float]:
    """Take one step of SGD and return the losses.

    Raises:
        FloatingPointError: If a loss is not finite or no parameter got a gradient.
    """
    model.train()
    data = model.data_preprocessor(data, training=True)
    losses, log = model.parse_losses(model(**data, mode='loss'))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    losses.backward()
    largest = max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None)
    values = {key: float(value.detach()) for key, value in log.items()}
    if not math.isfinite(values['loss']) or not math.isfinite(largest) or largest == 0:
        raise FloatingPointError(f'losses {values}, largest gradient {largest}')
    # Losses of an untrained model can be huge; the step must not break the prediction.
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return values


def detection_batch(size: int, num_classes: int, count: int = 2) -> dict[str, list]:
    """Return random images with two objects each: boxes, masks, labels, a semantic map."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData, PixelData

    box = torch.tensor([[0.1, 0.1, 0.6, 0.5], [0.3, 0.4, 0.9, 0.95]]) * size
    masks = torch.zeros(2, size, size, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, box.long().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    samples = []
    for _ in range(count):
        labels = torch.randint(0, num_classes, (2,))
        sample = DetDataSample(metainfo=_meta(size))
        sample.gt_instances = InstanceData(
            bboxes=box.clone(), labels=labels, masks=BitmapMasks(masks.numpy(), size, size)
        )
        sample.ignored_instances = InstanceData(bboxes=box[:0], labels=labels[:0])
        sample.gt_sem_seg = PixelData(sem_seg=_semantic_map(masks, labels))
        samples.append(sample)
    return {'inputs': _images(size, count), 'data_samples': samples}


def segmentation_batch(size: int, num_classes: int, count: int = 2) -> dict[str, list]:
    """Return random images with a label of 0 to ``num_classes`` - 1 for every pixel."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for _ in range(count):
        sample = SegDataSample(metainfo=_meta(size))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, num_classes, (1, size, size)))
        sample.gt_edge_map = PixelData(data=torch.randint(0, 2, (1, size, size)))
        samples.append(sample)
    return {'inputs': _images(size, count), 'data_samples': samples}


def _loads_masks(cfg: Config) -> bool:
    """Return whether the training pipeline of a detector brings masks."""
    pipeline = str(cfg.get('train_pipeline', cfg.get('train_dataloader')))
    return "'with_mask': True" in pipeline or 'Panoptic' in pipeline


def _images(size: int, count: int) -> list[Tensor]:
    return [torch.randint(0, 256, (3, size, size), dtype=torch.uint8) for _ in range(count)]


def _meta(size: int) -> dict[str, Any]:
    """Return what pipelines note about an image; border is read by CenterNet alone."""
    shape = (size, size)
    return {
        'img_id': 0, 'img_path': 'random', 'img_shape': shape, 'ori_shape': shape,
        'pad_shape': shape, 'batch_input_shape': shape, 'scale_factor': (1.0, 1.0),
        'flip': False, 'flip_direction': None, 'border': [0, 0, 0, 0],
    }  # fmt: skip


def _semantic_map(masks: Tensor, labels: Tensor) -> Tensor:
    """Return (1, H, W) labels, 0 where there is no object."""
    result = torch.zeros(1, *masks.shape[1:], dtype=torch.long)
    for mask, label in zip(masks, labels, strict=True):
        result[0][mask.bool()] = label
    return result


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
    for key in ('pretrained', 'checkpoint_file'):
        if key in node:
            node[key] = None
    if node.get('type') in ('SyncBN', 'MMSyncBN', 'NaiveSyncBatchNorm'):
        node['type'] = 'BN'
    if 'SegDataPreProcessor' in str(node.get('type')):
        node['size'], node['size_divisor'] = (size, size), None
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


def _fewest_classes(node: Any) -> int:
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
