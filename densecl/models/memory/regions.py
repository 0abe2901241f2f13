"""A ring buffer of region embeddings for every class."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def number_among_equals(values: Tensor) -> Tensor:
    """For each value, how many equal values come before it: (N,) integers -> (N,) int64."""
    order = values.argsort(stable=True)
    ordered = values[order]
    numbers = torch.empty_like(order)
    numbers[order] = torch.arange(len(values), device=values.device) - torch.searchsorted(ordered, ordered)
    return numbers


@torch.no_grad()
def region_means(pixels: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """The mean direction of the pixels of each of K classes in each image.

    Args:
        pixels: (B, N, C), unit vectors of pixels.
        labels: (B, N), their classes, -1 for none.
        num_classes: K.

    Returns:
        (B K, C), unit vectors, image by image; and (B K,), their classes, -1 where the image does not have
        the class.
    """
    images = torch.arange(len(labels), device=labels.device)[:, None]
    valid = labels >= 0
    region = (images * num_classes + labels)[valid]
    count = len(labels) * num_classes
    sums = pixels.new_zeros(count, pixels.shape[-1]).index_add_(0, region, pixels[valid])
    present = torch.bincount(region, minlength=count) > 0
    classes = torch.arange(count, device=labels.device) % num_classes
    return F.normalize(sums, dim=1), torch.where(present, classes, -1)


class RegionMemory(nn.Module):
    """The newest region embeddings of each class (Wang et al., ICCV 2021, "region memory").

    For each of ``num_classes`` it keeps ``length`` vectors of width ``dim``, all in the state dict. With
    several processes, each must be given the regions of all processes: only then the memories stay equal.

    Deviations from the official code: a ring's pointer moves by the number of vectors written; writing past
    the end continues at the beginning; and class 0 is stored like every other class.
    """

    def __init__(self, num_classes: int, length: int, dim: int) -> None:
        super().__init__()
        if min(num_classes, length, dim) < 1:
            raise ValueError(
                'RegionMemory: num_classes, length and dim must be at least 1, '
                f'got {num_classes}, {length} and {dim}'
            )
        self.register_buffer('keys', torch.zeros(num_classes, length, dim))
        for name in ('pointers', 'enqueued'):
            self.register_buffer(name, torch.zeros(num_classes, dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, vectors: Tensor, labels: Tensor) -> None:
        """Replace each class's oldest vectors by unit vectors (N, C) with classes (N,); -1 is skipped."""
        length = self.keys.shape[1]
        vectors, labels = vectors[labels >= 0], labels[labels >= 0]
        counts = torch.bincount(labels, minlength=len(self.keys))
        numbers = number_among_equals(labels)
        stays = numbers >= counts[labels] - length  # if there are more than a ring holds, keep the last
        slots = (self.pointers[labels] + numbers) % length
        self.keys[labels[stays], slots[stays]] = vectors[stays].to(self.keys.dtype)
        self.pointers.add_(counts).remainder_(length)
        self.enqueued.add_(counts)

    def read(self) -> tuple[Tensor, Tensor]:
        """Copies of all stored vectors (M, C), and their classes (M,)."""
        slots = torch.arange(self.keys.shape[1], device=self.keys.device)
        filled = slots < self.enqueued[:, None]  # a ring fills from its first slot on
        return self.keys[filled], filled.nonzero()[:, 0]

    @property
    def filled(self) -> Tensor:
        """Share of the slots that hold a vector, () in [0, 1]."""
        return self.enqueued.clamp(max=self.keys.shape[1]).sum() / self.keys[..., 0].numel()
