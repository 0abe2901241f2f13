"""The losses of a detector's RPN and of its box head, without classes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.registry import MODELS
from densecl.structures import Detections, assign_anchors, encode_boxes

from .objective import Objective, mean_of


def proposal_losses(
    found: Detections, samples: int = 4096, above: float = 0.7, below: float = 0.3
) -> tuple[Tensor, Tensor]:
    """Binary cross entropy of the anchors' logits, and L1 distance of their offsets (Ren et al., 2015).

    Both are divided by the number of sampled anchors of all processes. An image has ``samples`` of them: the
    positive anchors, and for the rest background. mmdet draws the background anchors at random. Here all
    background anchors count, with equal weights that have the same sum: this is the mean over such draws.

    For ``above`` and ``below`` see :func:`~densecl.structures.assign_anchors`.
    """
    each = [
        assign_anchors(found.anchors, boxes, there, above, below)
        for boxes, there in zip(found.boxes, found.there, strict=True)
    ]
    own, finds, background = (torch.stack(x) for x in zip(*each, strict=True))  # (B, A)
    weights = sample_weights(finds, background, samples).to(found.logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(found.logits, finds.to(weights.dtype), reduction='none')
    distance = offset_distance(
        found.anchors.expand_as(found.offsets), found.boxes, own, found.offsets, found.stds
    )
    terms = (entropy * weights, torch.where(finds, distance, 0.0) * weights)
    return tuple(mean_of(each, weights > 0, 'weights', weights) for each in terms)


def region_loss(found: Detections, there: Tensor) -> Tensor:
    """L1 distance of the box head's offsets, mean over the existing (``there``) regions of all processes."""
    distance = offset_distance(found.regions, found.boxes, found.own, found.region_offsets, found.region_stds)
    return mean_of(distance, there, 'counted')


def sample_weights(finds: Tensor, background: Tensor, samples: int) -> Tensor:
    """The probability with which each anchor is drawn, (B, A), for ``samples`` anchors an image (or all)."""
    positives, negatives = (x.sum(1, keepdim=True) for x in (finds, background))
    share = (samples / positives.clamp(min=1)).clamp(max=1)
    rest = ((samples - positives).clamp(min=0) / negatives.clamp(min=1)).clamp(max=1)
    return finds * share + background * rest


def offset_distance(
    anchors: Tensor, boxes: Tensor, own: Tensor, offsets: Tensor, stds: tuple[float, ...]
) -> Tensor:
    """L1 distance of ``offsets`` (B, N, 4) from the correct ones, summed over the four, (B, N).

    The correct offsets lead from ``anchors`` (B, N, 4) to their boxes: ``own`` (B, N) is the number of each
    anchor's box in ``boxes`` (B, K, 4). If anchor or box has no area, the result is 0, without gradient.
    """
    boxes = boxes.gather(1, own[..., None].expand(-1, -1, 4))
    there = ((anchors[..., 2:] > anchors[..., :2]) & (boxes[..., 2:] > boxes[..., :2])).all(-1, keepdim=True)
    unit = torch.zeros_like(boxes)
    unit[..., 2:] = 1.0
    wanted = encode_boxes(torch.where(there, anchors, unit), torch.where(there, boxes, unit), stds)
    return torch.where(there, (offsets - wanted).abs(), 0.0).sum(-1)


@MODELS.register_module()
class BoxRegression(Objective):
    """Objectness and box regression, the losses of a two-stage detector without classes (AlignDet, Li et al.,
    2023).

    It is the sum of :func:`proposal_losses` and :func:`region_loss` on the query's side. The answers are the
    boxes, not the key. Each of the three terms is logged.

    Args:
        samples: number of anchors of an image that count; 4096 in the recipe of AlignDet.
        above: IoU from which an anchor is positive.
        below: IoU under which an anchor is background.
    """

    needs = frozenset({'detections'})
    needs_keys = False

    def __init__(self, samples: int = 4096, above: float = 0.7, below: float = 0.3) -> None:
        super().__init__()
        if samples < 1 or not 0 < below <= above <= 1:
            raise ValueError(
                'BoxRegression: samples must be at least 1 and 0 < below <= above <= 1, got '
                f'{samples}, {below} and {above}'
            )
        self.samples, self.above, self.below = samples, above, below

    def score(self, comparison):
        query = comparison.query
        with torch.autocast(query.vectors.device.type, enabled=False):
            objectness, offsets = proposal_losses(query.detections, self.samples, self.above, self.below)
            region = region_loss(query.detections, query.valid)
        log = dict(objectness=objectness, anchor_offsets=offsets, region_offsets=region)
        return objectness + offsets + region, {name: x.detach() for name, x in log.items()}
