"""A few thousand of your own photos on a small machine: 6 epochs of SGD, 64 images a step, one worker.

A method's small recipe has its method and this file as bases. It adds only the sizes of the heads for a
ResNet-18. For a longer run set train_cfg.max_epochs=24; docs/results.md has the cost and the gain of each
budget.
"""

_base_ = ['pretrain_runtime.py', 'datasets/imagenet.py']

train_dataloader = dict(batch_size=64, num_workers=1, pin_memory=False, dataset=dict(data_root='data/photos'))
# Without a GPU, colour operators are faster on uint8 in the worker; the views are the same.
multi_view = dict(type='MultiView', photometric_on='worker')
# C5 has stride 16, as in FCN, so a view has as many cells as in the official recipes. With 3 x 3 cells, each
# would be near a third of the other view's cells. With dilation the usual weights still fit.
small_side, small_cells = 112, 7
stride16 = dict(depth=18, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.06, momentum=0.9, weight_decay=1e-4)
)
# once an epoch, over the whole run
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0, by_epoch=True),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=6)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=1), collapse=dict(interval=20))
auto_scale_lr = dict(base_batch_size=64, enable=False)
