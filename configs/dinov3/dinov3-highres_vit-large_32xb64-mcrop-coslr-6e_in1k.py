"""The high-resolution stage of DINOv3: larger crops, an anchor at a size of its own, after the Gram stage.

python tools/train.py THIS --cfg-options load_from=work_dirs/.../epoch_40.pth
"""

_base_ = ['dinov3-gram_vit-large_32xb64-mcrop-constlr-40e_in1k.py']

large, small, anchor, patch = 512, 112, 768, 16
model = dict(
    checkpoint_activations=True,
    renew_start=(),
    heads=dict(gram=dict(units=dict(grid=large // patch), loss_weight=1.5)),
)
mask = dict(_base_.views[0]['mask'], max_area=(large // patch) ** 2 // 2)
views = [{**v, 'size': large, 'mask': mask} for v in _base_.views[:2]]
views += [{**_base_.views[2], 'size': small}, *({**v, 'size': anchor} for v in _base_.views[3:])]
train_dataloader = dict(dataset=dict(pipeline=[dict(type='MultiView', views=views)]))
optim_wrapper = dict(optimizer=dict(lr=7.07e-5))  # 1.25e-5 * 4 * sqrt(2048 / 1024)
param_scheduler = [
    dict(_base_.param_scheduler[0], factor=dict(start=0, end=1, duration=2, unit='epoch')),
]
train_cfg = dict(max_epochs=6)
