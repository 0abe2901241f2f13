"""Run by test_pixel_contrast_of_two_processes.py: three steps of the head."""

from types import SimpleNamespace

import torch

from densecl.distributed import all_reduce, rank, world_size
from densecl.models.heads import PixelContrastHead

IMAGES, CHANNELS, CLASSES, CELLS = 4, 5, 3, 4
STEPS = 3


def global_batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps and labels, the same in every process; the second half of step 1 has no labelled pixel."""
    generator = torch.Generator().manual_seed(step)
    shape = (IMAGES, CHANNELS, CELLS, CELLS)
    maps = torch.randn(shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, CLASSES, (IMAGES, 1, CELLS, CELLS), generator=generator)
    labels[0, :, 0] = 255
    if step == 1:
        labels[IMAGES // 2 :] = 255
    return maps, labels


def make_head() -> PixelContrastHead:
    """Takes every labelled pixel, so that nothing depends on what is drawn."""
    torch.manual_seed(0)
    return PixelContrastHead(
        CHANNELS,
        CLASSES,
        channels=3,
        projector=dict(type='densecl.ConvMLP', channels=(CHANNELS, 3)),
        max_views=CELLS**2,
        max_anchors=10_000,
        min_pixels=1,
        warmup_iters=0,
        memory=dict(length=5),
        supervise=True,
    ).double()


def everything() -> dict[str, torch.Tensor]:
    """Losses and gradients of each step, averaged over the processes, and the state after the last."""
    head, found = make_head(), {}
    weight = torch.eye(CHANNELS, dtype=torch.float64).requires_grad_()
    size = IMAGES // world_size()
    own = slice(rank() * size, (rank() + 1) * size)
    for step in range(STEPS):
        maps, labels = (x[own] for x in global_batch(step))
        samples = [SimpleNamespace(gt_sem_seg=SimpleNamespace(data=x)) for x in labels]
        features = torch.einsum('bchw,cd->bdhw', maps, weight)
        got = head.loss([features], samples)
        inputs = [weight, *head.parameters()]
        gradients = torch.autograd.grad(got['loss_contrast'] + got['loss_classifier'], inputs)
        values = {k: v.detach().double() for k, v in got.items()}
        values.update({f'gradient{i}': g for i, g in enumerate(gradients)})
        for name, value in values.items():
            found[f'{step}.{name}'] = all_reduce(value) / world_size()
    return {**found, **head.state_dict()}
