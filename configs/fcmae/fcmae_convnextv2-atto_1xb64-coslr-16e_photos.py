"""FCMAE on some thousand photos of your own, on a small machine: ConvNeXt V2-A at 128 px, 4 x 4 cells."""

_base_ = ['../_base_/methods/fcmae.py', '../_base_/small_machine.py']

epochs = 16
model = dict(
    backbone=dict(model_name='convnextv2_atto'),
    heads=dict(pixels=dict(projector=dict(in_channels=320, embed_dim=256))),
)
views = [dict(_base_.views[0], size=128)]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05)
)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, warmup=1, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(max_epochs=epochs)
