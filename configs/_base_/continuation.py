"""Go on from weights that are good already, and keep them good: what a small recipe adds.

A config builds on a method's small recipe and on this file, and takes these parts::

    model = dict(**_base_.continued, backbone=_base_.lite0, heads=dict(..., anchor=_base_.anchor))
    optim_wrapper = _base_.gentle
    param_scheduler = _base_.to_zero
    custom_hooks = _base_.from_start

docs/continuation.md says why each of them is there.
"""

start = 'imagenet'  # or a file of any common project
heads_first, ramp = 60, 30  # optimiser steps: heads alone, then the backbone's rate rises
continued = dict(batch_statistics='held', heads_first=heads_first, frozen_layers=3)
# EfficientNet-Lite0 with its last level at stride 16, 320 channels; its images have mean and std 0.5
lite0 = dict(
    _delete_=True, type='TimmBackbone', model_name='tf_efficientnet_lite0', out_indices=(4,), output_stride=16
)
lite0_images = dict(type='PretrainDataPreprocessor', mean=3 * [127.5], std=3 * [127.5])
# The similarities among the cells of a photo stay near those of the start.
anchor = dict(target='start', units='Cells', objective='Gram', pairs=((0, 0), (1, 1)), loss_weight=4.0)
gentle = dict(
    constructor='ParamGroupsConstructor',
    optimizer=dict(lr=0.03),
    paramwise_cfg=dict(
        rules=[
            dict(
                match=r'^backbone\.',
                lr_mult=0.1,
                layer_decay=0.8,
                decay_mult=0,  # decay would draw good weights to zero
                lr_ramp=(heads_first, ramp),
            )
        ]
    ),
)
to_zero = [
    dict(type='ParamSchedule', param_name='lr', factor=dict(start=1, end=0), convert_to_iter_based=True)
]
from_start = [dict(type='PretrainedHook', checkpoint=start)]
