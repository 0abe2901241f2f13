"""The high-resolution stage on the photos: large crops of 96 px and an anchor of 144, after the Gram stage.

python tools/train.py THIS --cfg-options load_from=work_dirs/.../epoch_2.pth
"""

_base_ = ['dinov3-gram_vit-slim_1xb64-mcrop-constlr-2e_photos.py']

large, small, anchor, patch = 96, 48, 144, 8
model = dict(
    renew_start=(),
    heads=dict(gram=dict(units=dict(grid=large // patch), loss_weight=1.5)),
)
mask = dict(_base_.views[0]['mask'], max_area=(large // patch) ** 2 // 2)
views = [{**v, 'size': large, 'mask': mask} for v in _base_.views[:2]]
views += [{**_base_.views[2], 'size': small}, *({**v, 'size': anchor} for v in _base_.views[3:])]
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views)]))
optim_wrapper = dict(optimizer=dict(lr=5e-5))
factor = dict(start=0, end=1, duration=0.3)
param_scheduler = [dict(_base_.param_scheduler[0], factor=factor)]
train_cfg = dict(max_epochs=1)
