"""Supervised pixel contrast, as an auxiliary head of a segmentor."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from densecl.distributed import all_gather, all_reduce, gather, world_size
from densecl.models.losses.functional import pixel_contrast
from densecl.models.memory.regions import RegionMemory, number_among_equals, region_means
from densecl.numerics import full_precision, unit
from densecl.registry import MODELS


@MODELS.register_module()
class PixelContrastHead(nn.Module):
    """Adds a supervised contrastive loss between pixels to any stock segmentor (Wang et al., ICCV 2021).

    ``auxiliary_head=dict(type='densecl.PixelContrastHead', in_channels=2048, in_index=3, num_classes=19)``,
    alone or in a list with other heads. It is used in training only and does not change the predictions.

    Half of the anchors are hard and half are easy: pixels that are classified wrongly and correctly. An
    auxiliary head never sees the segmentor's prediction. So it has its own 1x1 classifier, which is trained
    without a gradient to the backbone. Positives are pixels of the same class in the batch of all processes.

    Args:
        in_channels: number of channels of the feature map that the head reads.
        num_classes: number of classes.
        channels: width of the embedding.
        in_index: which of the feature maps is read.
        projector: module config, (B, in_channels, H, W) -> (B, channels, H, W); by default a 1x1
            convolution with BN and ReLU and a second one. A linear one is
            ``dict(type='densecl.ConvMLP', channels=(in_channels, channels))``.
        ignore_index: label of pixels without a class.
        max_views: largest number of anchors of one class in one image.
        max_anchors: largest number of anchors of a process, on average over the processes.
        min_pixels: a class with fewer pixels (of the feature map) in an image has no anchors there;
            by default ``max_views + 1``.
        temperature, base_temperature: see :func:`densecl.models.losses.functional.pixel_contrast`.
        loss_weight: factor of the contrastive loss.
        warmup_iters: for this many training iterations (forward passes) the contrastive loss is 0.
        memory: ``dict(length=...)`` of a :class:`~densecl.models.memory.RegionMemory`, whose vectors are
            further positives and negatives. It is filled after the warm-up.
        supervise: let the classifier's gradient reach the backbone, as a stock auxiliary head does.
        classifier_weight: factor of the classifier's cross-entropy.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        channels: int = 256,
        in_index: int = -1,
        projector: dict | None = None,
        ignore_index: int = 255,
        max_views: int = 100,
        max_anchors: int = 1024,
        min_pixels: int | None = None,
        temperature: float = 0.1,
        base_temperature: float = 0.07,
        loss_weight: float = 0.1,
        warmup_iters: int = 5000,
        memory: dict | None = None,
        supervise: bool = False,
        classifier_weight: float = 0.4,
    ) -> None:
        super().__init__()
        widths = (in_channels, in_channels, channels)
        self.projector = MODELS.build(projector or dict(type='densecl.ConvMLP', channels=widths, norm=True))
        self.classifier = nn.Conv2d(in_channels, num_classes, kernel_size=1)
        self.memory = None if memory is None else RegionMemory(num_classes, dim=channels, **memory)
        self.in_channels, self.in_index = in_channels, in_index
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.sampling = dict(
            num_classes=num_classes,
            max_views=max_views,
            max_anchors=max_anchors,
            min_pixels=max_views + 1 if min_pixels is None else min_pixels,
        )
        self.temperatures = (temperature, base_temperature)
        self.loss_weight, self.classifier_weight = loss_weight, classifier_weight
        self.warmup_iters, self.supervise = warmup_iters, supervise
        # A buffer: a resumed run does not warm up a second time.
        self.register_buffer('iterations', torch.zeros((), dtype=torch.int64))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """The unit embeddings (B, channels, H, W) of the map ``inputs[in_index]``."""
        return unit(self.projector(self._features(inputs)), dim=1)

    def loss(
        self, inputs: Sequence[Tensor], batch_data_samples: Sequence[Any], train_cfg: Any = None
    ) -> dict[str, Tensor]:
        """The losses, in the form that a segmentor expects of an auxiliary head; ``train_cfg`` is not used.

        Args:
            inputs: maps of the backbone or neck, each (B, C, H, W).
            batch_data_samples: B samples with ``gt_sem_seg.data``, (1, height, width) labels.

        Returns:
            ``loss_contrast`` and ``loss_classifier``, weighted. Without gradient: ``accuracy`` of the
            classifier, number of ``anchors``, share of ``hard`` anchors, and filled share of the ``memory``.
        """
        features = self._features(inputs)
        maps = torch.stack([sample.gt_sem_seg.data for sample in batch_data_samples]).float()
        labels = F.interpolate(maps, features.shape[-2:], mode='nearest').long().flatten(1)  # (B, N)
        labels = torch.where(labels == self.ignore_index, -1, labels)
        logits = self.classifier(features if self.supervise else features.detach()).flatten(2)
        right = logits.argmax(1) == labels
        valid = all_reduce((labels >= 0).sum()).clamp(min=1)
        classifier = F.cross_entropy(full_precision(logits), labels, ignore_index=-1, reduction='sum')
        # Data-parallel training averages over the processes: the result is the mean over all labelled pixels.
        classifier, accuracy = classifier * world_size() / valid, all_reduce(right.sum()) / valid
        embeddings = self.projector(features).flatten(2).transpose(1, 2)  # (B, N, C)
        if self.iterations < self.warmup_iters:
            # Not left out: data-parallel training expects a gradient for every parameter.
            contrast = (0 * full_precision(embeddings)).sum()
            anchors = hard = torch.zeros_like(accuracy)
        else:
            contrast, anchors, hard = self._contrast(embeddings, labels, ~right)
        if self.training:
            self.iterations += 1
        losses = dict(
            loss_contrast=self.loss_weight * contrast,
            loss_classifier=self.classifier_weight * classifier,
            accuracy=accuracy,
            anchors=anchors,
            hard=hard,
        )
        return losses if self.memory is None else dict(losses, memory=self.memory.filled)

    def _features(self, inputs: Sequence[Tensor]) -> Tensor:
        features = inputs[self.in_index]
        if features.shape[1] != self.in_channels:
            raise ValueError(
                f'PixelContrastHead: in_channels is {self.in_channels}, but map {self.in_index} of '
                f'{[x.shape[1] for x in inputs]} channels has {features.shape[1]}; '
                'change in_channels or in_index'
            )
        return features

    def _contrast(self, embeddings: Tensor, labels: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The loss over the batch of all processes, the number of anchors, and the share of hard anchors."""
        chosen = sample_anchors(labels, wrong, **self.sampling)
        anchors = gather_rows(full_precision(embeddings.flatten(0, 1)[chosen]))
        anchor_labels = gather_rows(labels.flatten()[chosen])
        keys = (None, None) if self.memory is None else self.memory.read()
        loss = pixel_contrast(anchors, anchor_labels, *self.temperatures, *keys)
        if self.memory is not None and self.training:
            means, classes = region_means(unit(embeddings.detach()), labels, self.num_classes)
            self.memory.enqueue(all_gather(means), all_gather(classes))
        hard = gather_rows(wrong.flatten()[chosen]).float()
        return loss, hard.new_tensor(len(hard)), hard.sum() / max(len(hard), 1)


def quotas(counts: Tensor, views: int) -> Tensor:
    """How many easy and hard pixels to draw from each of G groups, (G, 2).

    Half of them are easy and half are hard. If one kind has too few, the other fills up. ``counts`` (G, 2) is
    how many a group has. ``views`` pixels are drawn from a group, or all if it has fewer. If the number is
    odd, there is one more easy pixel.
    """
    easy, hard = counts.unbind(1)
    wanted = (easy + hard).clamp(max=views)
    from_hard = torch.minimum(torch.maximum(wanted // 2, wanted - easy), hard)
    return torch.stack([wanted - from_hard, from_hard], 1)


@torch.no_grad()
def sample_anchors(
    labels: Tensor, wrong: Tensor, num_classes: int, max_views: int, max_anchors: int, min_pixels: int
) -> Tensor:
    """Draw equally many pixels of each class of each image, half of them hard (Wang et al., ICCV 2021).

    From each (image, class) group with enough pixels, ``max_anchors // number of groups`` are drawn, at least
    1 and at most ``max_views``. Both numbers are sums over all processes.

    Args:
        labels: (B, N), class of each pixel, -1 if it has none.
        wrong: (B, N) bool, true for hard pixels, which are classified wrongly.
        num_classes: number of classes.
        max_views: largest number of pixels of one class in one image.
        max_anchors: number of pixels of all classes and images of a process, on average over the processes.
        min_pixels: a class with fewer pixels in an image has no anchors there.

    Returns:
        (A,) positions in the flattened (B N), a random choice within each group.
    """
    groups = len(labels) * num_classes
    places = (labels.flatten() >= 0).nonzero()[:, 0]
    places = places[torch.randperm(len(places), device=places.device)]
    region = places // labels.shape[1] * num_classes + labels.flatten()[places]
    kind = 2 * region + wrong.flatten()[places]
    counts = torch.bincount(kind, minlength=2 * groups).view(groups, 2)
    taken = counts.sum(1) >= min_pixels
    regions = int(all_reduce(taken.sum()))
    views = max(max_anchors * world_size() // max(regions, 1), 1)
    quota = quotas(counts, min(views, max_views)) * taken[:, None]
    return places[number_among_equals(kind) < quota.flatten()[kind]]


def gather_rows(rows: Tensor) -> Tensor:
    """:func:`densecl.distributed.gather` for processes with different numbers of rows, or no rows."""
    if world_size() == 1:
        return rows
    counts = all_gather(torch.tensor([len(rows)], device=rows.device))
    longest = int(counts.max())
    if not longest:
        return rows
    padding = rows.new_zeros(longest - len(rows), *rows.shape[1:])
    real = torch.arange(longest, device=rows.device) < counts[:, None]
    return gather(torch.cat([rows, padding]))[real.flatten()]
