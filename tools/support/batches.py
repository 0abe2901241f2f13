"""Random batches in the form that the pipelines of mmdet and mmseg give them."""

from typing import Any

import torch
from torch import Tensor


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
        sample.proposals = InstanceData(bboxes=box.clone(), scores=torch.ones(2))
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
