"""From ImageNet weights on the bundled photos of blood cells, without their labels: minutes of two CPU cores.

The images for evaluation are not read.
"""

_base_ = '../anchor/anchor_efficientnet-lite0_1xb16-coslr-16e_photos.py'

from densecl.sample import sample_root  # noqa: E402  (after _base_: mmengine reads it in this order)

side, epochs = 128, 6  # the start sees the crop at twice the side only: a third of the usual cost
model = dict(heads=dict(anchor=dict(units=dict(grid=side // 16))))
views = [dict(_base_.views[0], size=side)]
pipeline = [dict(_base_.multi_view, views=views + [dict(_base_.finer, size=2 * side)])]
train_dataloader = dict(dataset=dict(data_root=str(sample_root() / 'bccd' / 'train'), pipeline=pipeline))
train_cfg = dict(max_epochs=epochs)
custom_hooks = [*_base_.from_start, dict(type='GuardHook', count=32, every=1.0, averages=(0.75,))]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=epochs), collapse=dict(interval=10))
