"""From ImageNet weights on the bundled photos, some minutes of two CPU cores: safe, and guarded.

Photos of things, blood cells and products, without their labels; images for evaluation are not read.
"""

_base_ = '../anchor/anchor_efficientnet-lite0_1xb16-coslr-4e_photos.py'

from densecl.sample import sample_root  # noqa: E402  (after _base_: mmengine reads it in this order)

root = str(sample_root())
epochs = 1
train_dataloader = dict(
    dataset=dict(data_root=[f'{root}/photos', f'{root}/detection/train', f'{root}/bccd/train'])
)
train_cfg = dict(max_epochs=epochs)
custom_hooks = [*_base_.from_start, dict(type='GuardHook', count=32, size=(176, 240), every=1.0, averages=())]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=epochs), collapse=dict(interval=10))
