"""Where boxes are: the losses of a detector's region proposals and of its box head."""

import torch
import torch.nn.functional as F
from torch import Tensor

from densecl.distributed import all_reduce, world_size
from densecl.registry import MODELS
from densecl.structures import Detections, assign_anchors, encode_boxes

from .objective import Objective


def proposal_losses(
    found: Detections, samples: int = 4096, above: float = 0.7, below: float = 0.3
) -> tuple[Tensor, Tensor]:
    """Binary cross entropy of the anchors' logits, and L1 distance of their offsets (Ren et al., 2015).

    Both over the number of anchors that count, of all processes: of an image as many as ``samples``, all
    that find a box and others of the background. mmdet draws these; here all of the background count with
    equal weights of the same sum, which is the mean over the draws.

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
    return _mean(entropy, weights), _mean(torch.where(finds, distance, 0.0), weights)


def region_loss(found: Detections, there: Tensor) -> Tensor:
    """L1 distance of the box head's offsets, mean over the regions of all processes that are ``there``."""
    distance = offset_distance(found.regions, found.boxes, found.own, found.region_offsets, found.region_stds)
    return _mean(torch.where(there, distance, 0.0), there.to(distance.dtype))


def sample_weights(finds: Tensor, background: Tensor, samples: int) -> Tensor:
    """(B, A) shares with which anchors are drawn, where of an image ``samples`` are, or all."""
    positives, negatives = (x.sum(1, keepdim=True) for x in (finds, background))
    share = (samples / positives.clamp(min=1)).clamp(max=1)
    rest = ((samples - positives).clamp(min=0) / negatives.clamp(min=1)).clamp(max=1)
    return finds * share + background * rest


def offset_distance(
    anchors: Tensor, boxes: Tensor, own: Tensor, offsets: Tensor, stds: tuple[float, ...]
) -> Tensor:
    """(B, N), the sum of the four absolute differences of (B, N, 4) offsets from those that lead to a box.

    ``anchors`` are (B, N, 4), ``boxes`` (B, K, 4), ``own`` (B, N) says which of them. Where one has no area:
    0, without gradient.
    """
    boxes = boxes.gather(1, own[..., None].expand(-1, -1, 4))
    there = ((anchors[..., 2:] > anchors[..., :2]) & (boxes[..., 2:] > boxes[..., :2])).all(-1, keepdim=True)
    unit = torch.zeros_like(boxes)
    unit[..., 2:] = 1.0
    wanted = encode_boxes(torch.where(there, anchors, unit), torch.where(there, boxes, unit), stds)
    return torch.where(there, (offsets - wanted).abs(), 0.0).sum(-1)


def _mean(terms: Tensor, weights: Tensor) -> Tensor:
    """Of all processes; terms of weight 0 may be anything finite."""
    return (terms * weights).sum() * world_size() / all_reduce(weights.sum()).clamp(min=1)


@MODELS.register_module()
class BoxRegression(Objective):
    """That there is a box, and where: what a two-stage detector learns without classes (AlignDet, Li et al.,
    2023).

    Sum of :func:`proposal_losses` and :func:`region_loss` of the query's side; the boxes, not the key, give
    the answer. Logs each of the three.

    Args:
        samples: anchors of an image that count, in the recipe of AlignDet 4096.
        above: overlap at which an anchor stands for a box.
        below: overlap under which it is background.
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
