"""ReSim on some thousand photos of your own, on a small machine.

Windows and strides are half the official ones, and as many: 36 of 24 px on P4 (7 x 7 cells), 64 of 16 px on
P3 (14 x 14).
"""

_base_ = ['../_base_/methods/resim.py', '../_base_/small_machine.py']

projector = dict(channels=(512, 512, 128), norm=True, last_norm=True)
model = dict(
    momentum=0.99,  # this, the queue and the norms as in DenseCL's small recipe
    bn_groups=4,
    backbone=dict(depth=18, out_indices=(1, 2, 3)),
    # The tensors that the neck of the slim Mask R-CNN of this repository has for these levels.
    neck=dict(in_channels=(128, 256, 512), out_channels=64, levels=(0, 1), norm=True),
    heads=dict(
        image=dict(projector=projector, objective=dict(queue=1024)),
    ),
)
views = [{**v, 'size': _base_.small_side} for v in _base_.views]
regions = dict(
    p4=dict(type='SlidingWindows', window=24, stride=16),
    p3=dict(type='SlidingWindows', window=16, stride=12),
)
train_dataloader = dict(dataset=dict(pipeline=[dict(_base_.multi_view, views=views, regions=regions)]))
