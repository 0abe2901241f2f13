"""VICRegL, 300 epochs of ImageNet on four machines of eight devices, as the official README starts it."""

_base_ = ['vicregl_resnet50_8xb64-coslr-100e_in1k.py']

optim_wrapper = dict(optimizer=dict(lr=1.6))  # 0.2 * 2048 / 256
train_cfg = dict(max_epochs=300)
auto_scale_lr = dict(base_batch_size=2048)
