"""Run by test_corrupted_of_two_processes.py: steps of SiT, and of a view in which some patches are kept.

Replaced pixels are not equally many in the processes. Batch norm is left out of the projector: torch's
SyncBatchNorm under DDP wants a GPU.
"""

import torch

from densecl.models.pretrainers import MomentumPretrainer
from densecl.structures import Views
from tests.distributed.steps import own, trained
from tests.models.heads.made import views_of

BATCH, STEPS, SIDE = 4, 2, 16


def views(step: int) -> Views:
    """This process's part of the batch; donors were chosen before."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(4, BATCH, 3, SIDE, SIDE, dtype=torch.float64, generator=generator)
    shares = torch.tensor([0.1, 0.2, 0.7, 0.9])[:, None, None]
    pixels = torch.rand(3, BATCH, SIDE, SIDE, generator=generator) < shares
    patches = torch.rand(BATCH, 2, 2, generator=generator) < shares
    pixels[2] = patches.repeat_interleave(8, 1).repeat_interleave(8, 2)
    corrupted = torch.where(pixels[:, :, None], images[:3].flip(1), images[:3])
    mine = own(BATCH)
    return views_of(
        images[:, mine],
        indices=torch.arange(BATCH)[mine],
        masks=[*(x[mine] for x in pixels[:2]), patches[mine], None],
        hidden_counts=[(0, SIDE**2), (0, SIDE**2), (0, 4), None],
        corrupted=[*(x[mine] for x in corrupted), None],
    )


def build() -> MomentumPretrainer:
    torch.manual_seed(0)
    image = dict(
        projector=dict(type='densecl.MLP', channels=(12, 9, 5)),
        objective=dict(type='densecl.InfoNCE', temperature=0.2, queue=0, batch='keys'),
        pairs=((0, 1), (1, 0)),
    )
    pixels = dict(
        units='densecl.DecodedCells',
        projector=dict(type='densecl.PixelDecoder', in_channels=12, patch=8),
        target=dict(type='densecl.Pixels', patch=1),
        objective=dict(type='densecl.Reconstruction', distance='absolute'),
        pairs=((0, 0), (1, 1)),
    )
    kept = dict(
        units='densecl.TokenPrototypes',
        projector=dict(type='densecl.PrototypeProjector', channels=(12, 9, 5), prototypes=7),
        objective=dict(
            kept=dict(type='densecl.SelfDistillation', prototypes=7, mean='images', centered_over='all')
        ),
        pairs=[dict(query=('kept', 2), key=('kept', 3), weight=0.3)],
    )
    sizes = dict(img_size=SIDE, patch_size=8, embed_dim=12, depth=1, num_heads=2)
    model = MomentumPretrainer(
        backbone=dict(type='densecl.TimmViT', **sizes),
        heads=dict(image=image, pixels=pixels, kept=kept),
        momentum=0.9,
        join_views=True,
    )
    model.init_weights()
    return model.double().train()


def everything() -> dict:
    """What :func:`trained` finds."""
    return trained(build(), views, STEPS, lr=0.1)
