"""VICReg, 100 epochs of ImageNet on one machine, as the official README starts it."""

_base_ = ['vicreg_resnet50_8xb256-coslr-1000e_in1k.py']

train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.6))  # 0.3 * 512 / 256
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=512)
