"""SimMIM with a Swin-B at 192 px, 100 epochs of ImageNet, 2,048 images a step; see the README."""

_base_ = [
    '../_base_/methods/simmim.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adamw_steplr_800e_simmim.py',
    '../_base_/pretrain_runtime.py',
]

size, stride = 192, 32
model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='swin_base_patch4_window7_224',
        img_size=size,
        window_size=6,
        out_indices=(3,),
        hidden='token',
        final_norm=True,
        drop_path_rate=0.0,
    ),
    heads=dict(pixels=dict(projector=dict(channels=(1024, stride * stride * 3)), target=dict(patch=stride))),
)
# A cell of the mask is one of the last level, and 8 x 8 patches of 4 px.
views = [{**_base_.views[0], 'size': size, 'mask': dict(_base_.views[0]['mask'], patch=stride)}]
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=[dict(type='MultiView', views=views)]))
optim_wrapper = dict(
    optimizer=dict(lr=8e-4),  # 2e-4 * 2048 / 512
    paramwise_cfg=dict(rules=[dict(match='1d', decay_mult=0), dict(match='mask_token', decay_mult=0)]),
)
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0.05, warmup=10, warmup_start=0.005, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(max_epochs=100)
