"""VICRegL, 100 epochs of ImageNet on one machine; the README beside this file has all sources."""

_base_ = [
    '../_base_/methods/vicregl.py',
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/lars_coslr_1000e_vicreg.py',
    '../_base_/pretrain_runtime.py',
]

train_dataloader = dict(batch_size=64, dataset=dict(pipeline=[dict(type='MultiView', views=_base_.views)]))
optim_wrapper = dict(optimizer=dict(lr=0.6))  # 0.3 * 512 / 256
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=512)
