"""Linear probe: segmentation by a 1x1 convolution on frozen maps."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .segmentation import IGNORED, confusion, enlarged_argmax


def linear_segmentation(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    classes: int,
    epochs: int = 12,
    lr: float = 1e-2,
    batch_size: int = 16,
    dropout: float = 0.0,
    seed: int = 0,
    seen: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Train a batch norm without affine parameters and a 1x1 convolution on frozen maps, and test them.

    The optimiser is AdamW with a one-cycle learning rate. The loss is the cross entropy at a quarter of the
    labels' side. The convolution starts at zero. The global random state is not touched.

    Args:
        train: (N, C, h, w) maps, of any floating type, on the device to train on.
        train_labels: (N, H, W) uint8 or int64, 255 = ignored.
        test: (M, C, h, w).
        test_labels: (M, H, W).
        classes: K.
        epochs: epochs over the training maps.
        lr: highest learning rate.
        batch_size: images per step.
        dropout: probability that a channel of an image is dropped in training, before the batch norm;
            DINOv3's head has 0.1.
        seed: seed of the order and of the dropped channels.
        seen: called with the predictions, (B, H, W) int64 on the CPU, batch by batch in the images' order.

    Returns:
        (M, K, K) counts of pixels at full size, see :func:`~densecl.evaluation.segmentation.confusion`.
    """
    small = F.interpolate(train_labels[:, None].float(), scale_factor=0.25, mode='nearest-exact')
    head = _Head(train.shape[1], classes, dropout, seed).to(train.device)
    small = small[:, 0].long().to(train.device)
    _fit(head.train(), train, small, epochs, lr, batch_size, seed)
    head.eval()
    with torch.no_grad():
        pairs = zip(test.split(batch_size), test_labels.split(batch_size), strict=True)
        return torch.cat([_test(head, maps, labels, classes, seen) for maps, labels in pairs])


class _Head(nn.Module):
    def __init__(self, channels: int, classes: int, dropout: float, seed: int) -> None:
        super().__init__()
        self.dropout, self.generator = dropout, torch.Generator().manual_seed(seed)
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.weight = nn.Parameter(torch.zeros(classes, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) of any floating type -> (B, K, h, w) float32."""
        maps = maps.float()
        if self.training and self.dropout:
            kept = torch.rand(*maps.shape[:2], 1, 1, generator=self.generator) >= self.dropout
            maps = maps * (kept / (1 - self.dropout)).to(maps.device)
        return F.conv2d(self.norm(maps), self.weight, self.bias)


def _fit(head: _Head, maps: Tensor, labels: Tensor, epochs, lr, batch_size, seed) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr)
    steps = epochs * -(-len(maps) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(maps), generator=generator).to(maps.device).split(batch_size):
            scores = F.interpolate(head(maps[rows]), labels.shape[1:], mode='bilinear', align_corners=False)
            # Not PyTorch's mean: a batch without a labelled pixel would give 0 / 0.
            wanted = labels[rows]
            loss = F.cross_entropy(scores, wanted, ignore_index=IGNORED, reduction='sum')
            loss = loss / (wanted != IGNORED).sum().clamp(min=1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _test(head: _Head, maps: Tensor, labels: Tensor, classes: int, seen: Callable | None) -> Tensor:
    predicted = enlarged_argmax(head(maps.to(head.weight.device)), labels.shape[1:]).cpu()
    if seen is not None:
        seen(predicted)
    return confusion(predicted, labels.cpu(), classes)
