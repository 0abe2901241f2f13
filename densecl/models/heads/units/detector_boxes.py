"""Regions that a detector proposes for known boxes, read by its box head."""

import torch
from torch import Tensor

from densecl.models.active import only_active
from densecl.numerics import full_precision
from densecl.registry import MODELS
from densecl.structures import Detections, decode_boxes, overlaps

from .base import place_of, record_of
from .boxes import Boxes
from .regions import regions_of


@MODELS.register_module()
class DetectorBoxes(Boxes):
    """The boxes that ``MultiView`` chose, and regions that the RPN proposes for each (AlignDet, Li et al.,
    2023).

    The projector is a :class:`~densecl.models.necks.DetectorHeads`. Its RPN predicts for every anchor whether
    there is a box, and where. A proposal belongs to the box with which it has the highest IoU, if this IoU is
    ``overlap`` or more. For each box the ``proposals`` with the highest scores are taken. They and the box
    itself go through the box head and have the id of the box. Missing proposals have the id -1. A box that a
    selector repeated counts once.

    Deviation: the official code takes the proposals that remain after non-maximum suppression, some hundred
    an image. Shapes would then depend on the data. Here proposals of one box may be close to each other.

    Args:
        proposals: largest number of proposals of a box.
        overlap: smallest IoU of a proposal with its box.
        candidates: how many anchors of a level, those with the highest scores, may become proposals.
        regions, levels, thresholds, bins, aligned: see :class:`Boxes`. ``levels`` are those of the box head.
            ``thresholds`` are those of mmdet's ``SingleRoIExtractor``: 2, 4, 8 ... times its
            ``finest_scale``.
    """

    gives = Boxes.gives | {'detections'}

    def __init__(
        self,
        proposals: int = 4,
        overlap: float = 0.5,
        candidates: int = 2000,
        levels: tuple[int, ...] = (0, 1, 2, 3),
        thresholds: tuple[float, ...] = (112, 224, 448, 896),
        regions: str = 'objects',
        bins: int = 7,
        aligned: bool = True,
    ) -> None:
        super().__init__(regions, levels=levels, thresholds=thresholds, bins=bins, aligned=aligned)
        if proposals < 0 or candidates < 1 or not 0 < overlap <= 1:
            raise ValueError(
                'DetectorBoxes: proposals must be at least 0, candidates at least 1, overlap in (0, 1]; got '
                f'{proposals}, {candidates} and {overlap}'
            )
        self.proposals, self.overlap, self.candidates = proposals, overlap, candidates

    def inputs(self, branch, views, source):
        """The levels, the boxes, and the view's height and width."""
        found = regions_of(views, self.regions, source, 'SelectBoxes')
        return tuple(branch[source]), found, tuple(views.images[source].shape[-2:])

    def project(self, projector, inputs, joint):
        """For each set: vectors (B, N, D), pooled features (B, N, C), valid (B, N) bool, and detections."""
        return {key: self._through(projector, *x) for key, x in inputs.items()}

    def _through(self, projector, maps, found, size):
        boxes = full_precision(found.boxes).to(full_precision(maps[0]).dtype)
        has_area = (boxes[..., 2:] > boxes[..., :2]).all(-1)
        there = first_of_id(found.ids) & has_area
        anchors = [x.to(boxes.dtype) for x in projector.anchors(maps, size)]
        logits, offsets = ([full_precision(x) for x in each] for each in projector.propose(maps))
        with torch.no_grad():
            proposed = self._proposed(anchors, logits, offsets, projector.stds, size)
            regions, own, valid = regions_for(boxes, there, *proposed, self.proposals, self.overlap)
        pooled = self.pooled(maps, regions, size)
        with only_active(projector.box_head, valid.flatten()[:, None, None]):
            features, region_offsets = projector(pooled)
        with only_active(projector.mlp, valid.flatten()):
            vectors = projector.mlp(features).unflatten(0, valid.shape)
        detections = Detections(
            boxes=boxes,
            there=there,
            anchors=torch.cat(anchors),
            logits=torch.cat(logits, 1),
            offsets=torch.cat(offsets, 1),
            stds=projector.stds,
            regions=regions,
            own=own,
            region_offsets=full_precision(region_offsets).unflatten(0, valid.shape),
            region_stds=projector.region_stds,
        )
        features = pooled.detach().mean((-2, -1)).unflatten(0, valid.shape)
        return vectors, features, valid, detections

    def _proposed(self, anchors, logits, offsets, stds, size) -> tuple[Tensor, Tensor]:
        """Scores (B, C) and decoded boxes (B, C, 4) of the best anchors of each level."""
        scores, boxes = [], []
        for a, score, offset in zip(anchors, logits, offsets, strict=True):
            score, index = score.topk(min(self.candidates, len(a)), 1)
            offset = offset.gather(1, index[..., None].expand(-1, -1, 4))
            scores.append(score)
            boxes.append(decode_boxes(a[index], offset, stds, size))
        return torch.cat(scores, 1), torch.cat(boxes, 1)

    def predict(self, predictor, projections):
        vectors, _, valid, _ = projections
        with only_active(predictor, valid.flatten()):
            return predictor(vectors.flatten(0, 1)).unflatten(0, valid.shape)

    def record(self, chosen, inputs, projections, predictions, views):
        vectors, features, valid, detections = projections
        ids = regions_of(views, self.regions, chosen, 'SelectBoxes').ids.gather(1, detections.own)
        return record_of(
            vectors,
            predictions,
            lambda x: x,
            valid=valid,
            ids=ids.masked_fill(~valid, -1),
            place=place_of(views, chosen, boxes=detections.regions),
            features=features,
            detections=detections,
        )


def first_of_id(ids: Tensor) -> Tensor:
    """The first entry of each id, (B, K) int64 -> (B, K) bool; false for -1."""
    same = ids[:, :, None] == ids[:, None]
    return (ids >= 0) & (same.int().argmax(2) == torch.arange(ids.shape[1], device=ids.device))


def regions_for(
    boxes: Tensor, there: Tensor, scores: Tensor, proposals: Tensor, count: int, overlap: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The regions of each box: the box itself and at most ``count`` proposals.

    A proposal belongs to the box with which it has the highest IoU.

    Args:
        boxes: (B, K, 4).
        there: (B, K) bool, the boxes that count.
        scores: (B, C), scores of the proposals; those with the highest are taken.
        proposals: (B, C, 4).
        count: number of proposals of a box.
        overlap: smallest IoU of a proposal with its box.

    Returns:
        (B, N, 4), N = K (1 + count) regions, box by box, 0 where one is missing; int64 (B, N), the number of
        the box; bool (B, N), whether the region exists.
    """
    iou = overlaps(proposals, boxes).masked_fill(~there[:, None], -1.0)  # (B, C, K)
    most, index = iou.max(2)
    numbers = torch.arange(boxes.shape[1], device=boxes.device)
    belongs = (index[:, None] == numbers[:, None]) & (most >= overlap)[:, None]  # (B, K, C)
    ranked = scores[:, None].masked_fill(~belongs, -torch.inf)
    missing = max(0, count - scores.shape[1])
    score, index = ranked.topk(count - missing, 2)
    taken = (
        proposals[:, None]
        .expand(-1, boxes.shape[1], -1, -1)
        .gather(2, index[..., None].expand(-1, -1, -1, 4))
    )
    regions = torch.cat([boxes[:, :, None], taken, boxes[:, :, None].expand(-1, -1, missing, -1)], 2)
    absent = torch.zeros_like(there)[..., None].expand(-1, -1, missing)
    valid = torch.cat([there[..., None], score > -torch.inf, absent], 2)
    own = numbers[:, None].expand_as(valid)
    return torch.where(valid[..., None], regions, 0.0).flatten(1, 2), own.flatten(1), valid.flatten(1)
