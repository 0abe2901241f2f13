"""Run by test_masked_of_two_processes.py: whole steps of masked methods, in float64.

What a process has is not what the other has: of iBOT's and DINOv2's crops only the second process's are
masked, in the second step none at all. Of DINO's the first process has no masks, in the second step nobody.
"""

import torch

from densecl.distributed import rank, world_size
from densecl.models.targets import FrozenNetwork, VQKDTokens
from densecl.registry import MODELS
from densecl.structures import Views
from tests.distributed.steps import own, trained
from tests.models.heads.made import views_of

BATCH, STEPS, GRID, PATCH, WIDTH, CODES = 4, 3, 4, 8, 16, 6
VIT = dict(type='densecl.TimmViT', img_size=32, patch_size=PATCH, embed_dim=WIDTH, depth=2, num_heads=2)
PIXELS = dict(target=dict(type='densecl.Pixels', patch=PATCH, normalise=True), pairs=((0, 0),))
FROZEN = dict(
    backbone=dict(VIT, output_cls_token=False), channels=WIDTH, patch=PATCH, stride=PATCH, file='none'
)
DECODER = dict(in_channels=WIDTH, grid=GRID, embed_dim=8, depth=1, num_heads=2)


def tokens(centering: str, centered_over: str, image_only: bool = False) -> dict:
    """iBOT's head, or DINOv2's; or what DINO has of it."""
    scores = dict(
        type='densecl.SelfDistillation', prototypes=CODES, teacher_temperature=0.05, centering=centering
    )
    images = [dict(query=('image', q), key=('image', 1 - q), weight=0.5, name='image') for q in range(2)]
    patches = [dict(query=('patches', v), key=('patches', v), weight=0.5, name='patches') for v in range(2)]
    return dict(
        units=dict(type='densecl.TokenPrototypes', hidden_only=centering == 'sinkhorn'),
        projector=dict(
            type='densecl.PrototypeProjector', channels=(WIDTH, 12, 5), activation='GELU', prototypes=CODES,
            weight_norm=True, learn_length=True,
        ),
        objective=dict(image=scores, patches=dict(scores, mean='images', centered_over=centered_over)),
        pairs=images if image_only else images + patches,
    )  # fmt: skip


MOMENTUM = dict(type='densecl.MomentumPretrainer', momentum=0.9)
SHARED = dict(type='densecl.SharedPretrainer')
METHODS = {
    'MAE': dict(
        SHARED,
        backbone=dict(VIT, hidden='dropped', pos_embed='sincos-mae', init='mae'),
        heads=dict(
            masked=dict(
                PIXELS,
                units='densecl.DecodedCells',
                projector=dict(DECODER, type='densecl.TransformerDecoder', out_channels=PATCH * PATCH * 3),
                objective='densecl.Reconstruction',
            )
        ),
    ),
    'SimMIM': dict(
        SHARED,
        backbone=dict(VIT, arch='beit_base_patch16_224', hidden='token', output_cls_token=False),
        heads=dict(
            masked=dict(
                PIXELS,
                units='densecl.MaskedCells',
                projector=dict(type='densecl.ConvMLP', channels=(WIDTH, PATCH * PATCH * 3)),
                objective=dict(type='densecl.Reconstruction', distance='absolute'),
            )
        ),
    ),
    'inpainting': dict(
        SHARED,
        backbone=dict(VIT, arch='beit_base_patch16_224', hidden='token', output_cls_token=False),
        heads=dict(
            masked=dict(
                PIXELS,
                units='densecl.MaskedCells',
                projector=dict(type='densecl.ConvMLP', channels=(WIDTH, PATCH * PATCH * 3)),
                objective=dict(
                    type='densecl.Sum',
                    objectives=[
                        dict(type='densecl.Reconstruction', border=1),
                        dict(
                            type='densecl.Adversarial',
                            discriminator=dict(type='densecl.ConvMLP', channels=(PATCH * PATCH * 3, 5, 1)),
                            weight=0.5,
                        ),
                    ],
                ),
            )
        ),
    ),
    'BEiT v2': dict(
        SHARED,
        backbone=dict(
            VIT, arch='beit_base_patch16_224', hidden='token', output_cls_token=False, class_path=(1, 1)
        ),
        heads=dict(
            masked=dict(
                units=dict(type='densecl.MaskedCells', levels=dict(last=-1, path=0)),
                projector=dict(type='densecl.ConvMLP', channels=(WIDTH, CODES)),
                target=dict(FROZEN, type='densecl.VQKDTokens', codes=CODES, dim=4),
                objective='densecl.CodeCrossEntropy',
                pairs=[dict(query=(k, 0), key=('last', 0), weight=1, name=k) for k in ('last', 'path')],
            )
        ),
    ),
    'VQ-KD': dict(
        SHARED,
        backbone=dict(VIT, output_cls_token=False),
        heads=dict(
            masked=dict(
                units='densecl.QuantizedCells',
                projector=dict(
                    type='densecl.QuantizedDecoder',
                    quantizer=dict(channels=WIDTH, codes=CODES, dim=4, decay=0.7),
                    decoder=dict(VIT, output_cls_token=False, img_size=GRID, patch_size=1, in_chans=4),
                    output=dict(type='densecl.ConvMLP', channels=(WIDTH, WIDTH), activation='Tanh'),
                ),
                target=dict(FROZEN, type='densecl.TeacherFeatures'),
                objective=dict(
                    type='densecl.Sum',
                    objectives=[
                        dict(type='densecl.Cosine', squared=True),
                        dict(type='densecl.Commitment'),
                    ],
                ),
                pairs=((0, 0),),
            )
        ),
    ),
    'iBOT': dict(
        MOMENTUM, backbone=dict(VIT, hidden='token'), heads=dict(masked=tokens('softmax', 'all'))
    ),
    'DINOv2': dict(
        MOMENTUM, backbone=dict(VIT, hidden='token'), heads=dict(masked=tokens('sinkhorn', 'valid'))
    ),
    'DINO': dict(
        MOMENTUM, backbone=dict(VIT, hidden='token'), heads=dict(masked=tokens('softmax', 'all', True))
    ),
    'CAPI': dict(
        MOMENTUM,
        backbone=dict(VIT, arch='vit_large_patch14_capi', num_reg_tokens=4, hidden='dropped', init='capi'),
        heads=dict(
            masked=dict(
                target='features',
                units=dict(type='densecl.AskedCells', level=-2),
                projector=dict(
                    type='densecl.CrossAttentionPredictor', in_channels=WIDTH, clusters=CODES, embed_dim=8,
                    depth=1, num_heads=2, registers=4,
                ),
                objective=dict(type='densecl.OnlineClusters', dim=WIDTH, clusters=CODES),
                pairs=((0, 0),),
            )
        ),
    ),
}  # fmt: skip


def views(method: str, step: int) -> Views:
    """This process's part of the batch: two views of each image, or one."""
    generator = torch.Generator().manual_seed(step)
    count = 2 if method in ('iBOT', 'DINOv2', 'DINO') else 1
    images = torch.randn(count, BATCH, 3, 32, 32, dtype=torch.float64, generator=generator)
    hidden = torch.rand(count, BATCH, GRID**2, generator=generator).argsort(-1) < 11
    counts = (11, 11)
    if count == 2:
        hidden &= torch.rand(hidden.shape, generator=generator) < 0.5
        hidden[:, : BATCH // 2] = False
        hidden &= torch.tensor(step != 1)
        counts = (0, 11)
    whole = method == 'VQ-KD' or method == 'DINO' and (step == 1 or rank() < world_size() - 1)
    mine = own(BATCH)
    return views_of(
        images[:, mine],
        indices=torch.arange(BATCH)[mine],
        masks=[None] * count if whole else list(hidden.unflatten(-1, (GRID, GRID))[:, mine]),
        hidden_counts=[counts] * count,
        asked=[hidden[0, mine].to(torch.uint8).argsort(dim=-1, descending=True, stable=True)[:, :3]]
        if method == 'CAPI'
        else None,
    )


def train(method: str) -> dict:
    """What :func:`trained` finds."""
    torch.manual_seed(0)
    model = MODELS.build(METHODS[method])
    target = model.heads['masked'].target
    if isinstance(target, FrozenNetwork):
        target.init_weights = lambda: None  # there is no file
    if isinstance(target, VQKDTokens):
        target.quantizer.codebook.normal_()
    model.init_weights()
    return trained(model.double().train(), lambda step: views(method, step), STEPS, lr=0.01)


def everything() -> dict:
    """What :func:`train` finds, for each method."""
    return {method: train(method) for method in METHODS}
