"""Continue from good weights without losing their quality: additions to a small recipe.

A config has a method's small recipe and this file as bases, and uses these parts::

    model = dict(**_base_.continued, backbone=_base_.lite0, data_preprocessor=_base_.lite0_images,
                 heads=dict(..., anchor=_base_.anchor))
    views = [{**v, **_base_.mild} for v in _base_.views] + [_base_.finer]
    optim_wrapper, param_scheduler, custom_hooks = _base_.gentle, _base_.to_zero, _base_.from_start

docs/continuation.md has the reason for each part, and its measured effect.
"""

weights = 'imagenet'  # or a file of any common project
# Optimiser steps: first only the heads are trained, then the backbone's learning rate rises.
heads_first, ramp = 20, 10
continued = dict(batch_statistics='held', heads_first=heads_first, frozen_layers=1)
# EfficientNet-Lite0 with its last level, 320 channels, at stride 16; its images have mean and std 0.5.
lite0 = dict(
    _delete_=True, type='TimmBackbone', model_name='tf_efficientnet_lite0', out_indices=(4,), output_stride=16
)
lite0_images = dict(type='PretrainDataPreprocessor', mean=3 * [127.5], std=3 * [127.5])

# The first view's cells stay near those of the start. The start sees the same crop at twice the side, without
# colour changes. Its features are finer there, so the anchor also teaches the backbone.
side, times = 160, 2
mild = dict(size=side, scale=(0.25, 0.6))  # objects are as large as in a whole photo of about 300 px
finer = dict(size=times * side, crop_of=0, flip=None)
anchor = dict(
    target='start',
    units=dict(type='Cells', grid=side // 16),
    objective='Cosine',
    pairs=((0, 2),),
    loss_weight=20.0,  # with weight 1 its gradient is a tenth of an image contrast's; with 20 it dominates
)
gentle = dict(
    constructor='ParamGroupsConstructor',
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-3, weight_decay=1e-4),
    # Weight decay would pull good weights to zero. A layer has 0.8 of the rate of the next deeper one.
    paramwise_cfg=dict(
        rules=[dict(match=r'^backbone\.', layer_decay=0.8, decay_mult=0, lr_ramp=(heads_first, ramp))]
    ),
)
to_zero = [
    dict(type='ParamSchedule', param_name='lr', factor=dict(start=1, end=0), convert_to_iter_based=True)
]
from_start = [dict(type='PretrainedHook', checkpoint=weights)]
