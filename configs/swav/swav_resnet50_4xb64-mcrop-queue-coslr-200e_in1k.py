"""SwAV for 256 images a step: with a queue from epoch 15 on, 200 epochs of ImageNet."""

_base_ = ['swav_resnet50_64xb64-mcrop-coslr-800e_in1k.py']

model = dict(
    heads=dict(
        image=dict(
            objective=dict(queue=3840, dim=128, queue_start=15),
            units=dict(freeze=5005),  # an epoch of 256 images a step
        )
    )
)
optim_wrapper = dict(optimizer=dict(lr=0.6))
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=0.001),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=256)
