"""The same image, object, segment, box or window in both views."""

import torch

from densecl.numerics import full_precision
from densecl.registry import MODELS
from densecl.structures import Match, labels_in

from .overlap import overlap_boxes
from .rule import Rule, among_valid


@MODELS.register_module()
class SameRow(Rule):
    """Row i of the key view answers row i of the query view, if both are valid.

    For whole images this is the same image. If the query has only some of a view's cells, the same cell
    answers.
    """

    one_answer = True

    def forward(self, query, key, batch):
        if query.cells is not None:
            return Match(query.cells, valid=query.valid)
        (images, count), other = query.vectors.shape[:2], key.vectors.shape[1]
        if count != other:
            raise ValueError(
                f'SameRow: {count} units of the query view cannot answer {other} of the key view row by row; '
                'take matching=MostSimilar, ByLocation or SameId'
            )
        index = torch.arange(count, device=query.vectors.device).expand(images, -1)
        valid = query.valid if key.valid is None else key.valid
        if query.valid is not None and key.valid is not None:
            valid = query.valid & key.valid
        return Match(index, valid=valid)


@MODELS.register_module()
class SameLabel(SameRow):
    """The other view of the image, and every candidate whose image has the same label (SupCon, SINCERE).

    An image without a label (-1) is answered only by its other view. The objective must have candidates:
    ``dict(type='InfoNCE', queue=0, batch='views')``. A batch without labels is a ``ValueError``.
    """

    across = True

    def forward(self, query, key, batch):
        if batch.labels is None:
            raise ValueError(
                'SameLabel needs labels: take a source that has them, such as '
                "train_dataloader.dataset.source=dict(type='ImageNet')"
            )
        match = super().forward(query, key, batch)
        mine = batch.labels.repeat_interleave(match.index.shape[1])[:, None]

        def across(candidates):
            if candidates.labels is None:
                raise ValueError(
                    'SameLabel: the candidates have no labels; take negatives of the batch '
                    "(objective=dict(type='InfoNCE', queue=0, batch='views'))"
                )
            return lambda columns: (mine == candidates.labels[columns]) & (mine >= 0)

        match.across = across
        return match


@MODELS.register_module()
class SameId(Rule):
    """All units of the key view with the query's id. An id may repeat, or be in one view only.

    Args:
        share_repeats: if n units of the query view have the same id, each has the weight 1 / n (DetCon,
            Hénaff et al., 2021).
        overlap: images whose views do not overlap do not count (SlotCon, Wen et al., 2022).
    """

    needs = frozenset({'ids'})

    def __init__(self, share_repeats: bool = False, overlap: bool = False) -> None:
        super().__init__()
        self.share_repeats, self.overlap = share_repeats, overlap
        self.combines = not share_repeats

    def forward(self, query, key, batch):
        mask = (query.ids[:, :, None] == key.ids[:, None]) & (query.ids >= 0)[:, :, None]
        mask = among_valid(mask, query, key)
        if self.overlap:
            mask = mask & overlap_boxes(query.place.crop, key.place.crop)[1][:, None, None]
        weight = None
        if self.share_repeats:
            repeats = (query.ids[:, :, None] == query.ids[:, None]).sum(2)
            weight = repeats.to(full_precision(query.vectors).dtype).reciprocal()
        return Match(mask=mask, weight=weight)


@MODELS.register_module()
class SameSegment(Rule):
    """All units of the key view that share a segment with the query: both contain a part of it."""

    needs = frozenset({'labels'})

    def forward(self, query, key, batch):
        labels = labels_in(key.labels, key.label_ids, query.label_ids)
        with torch.autocast(labels.device.type, enabled=False):
            shared = query.labels.to(labels.dtype) @ labels.mT
        return Match(mask=among_valid(shared > 0, query, key))
