"""PixPro from ImageNet weights on the bundled photos, some minutes of two CPU cores: safe, and guarded.

Photos of things, blood cells and products, without their labels; images for evaluation are not read.
"""

_base_ = '../pixpro/pixpro_efficientnet-lite0_1xb32-continue-20e_photos.py'

from densecl.sample import sample_root  # noqa: E402  (after _base_: mmengine reads it in this order)

root = str(sample_root())
epochs = 4
heads_first, ramp = 30, 10
model = dict(heads_first=heads_first)
optim_wrapper = dict(
    paramwise_cfg=dict(
        rules=[
            dict(
                match=r'^backbone\.',
                lr_mult=0.1,
                layer_decay=0.8,
                decay_mult=0,
                lr_ramp=(heads_first, ramp),
            )
        ]
    )
)
views = [{**v, 'size': 128, 'scale': (0.4, 1.0)} for v in _base_.views]
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        data_root=[f'{root}/photos', f'{root}/detection/train', f'{root}/bccd/train'],
        pipeline=[dict(_base_.multi_view, views=views)],
    ),
)
train_cfg = dict(max_epochs=epochs)
custom_hooks = [*_base_.from_start, dict(type='GuardHook', count=64, size=(176, 240), every=1.0)]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=epochs), collapse=dict(interval=10))
