"""DenseCL on the bundled photos, for a small machine: the small recipe, with a shorter queue."""

_base_ = '../densecl/densecl_resnet18_1xb64-coslr-6e_photos.py'

from densecl.sample import sample_root  # noqa: E402  (after _base_: mmengine reads it in this order)

epochs = 8
root = str(sample_root())
model = dict(heads=dict(image=dict(objective=dict(queue=256)), dense=dict(objective=dict(queue=256))))
train_dataloader = dict(batch_size=32, dataset=dict(data_root=[f'{root}/photos', f'{root}/detection/train']))
train_cfg = dict(max_epochs=epochs)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=epochs), collapse=dict(interval=10))
auto_scale_lr = dict(base_batch_size=32)
