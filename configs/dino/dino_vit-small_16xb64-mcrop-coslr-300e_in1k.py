"""DINO with a ViT-S/16, 300 epochs: warmer teacher, prototypes of learned length; see the README."""

_base_ = ['dino_vit-small_8xb64-mcrop-coslr-100e_in1k.py']

model = dict(
    heads=dict(
        image=dict(
            projector=dict(learn_length=True),
            objective=dict(
                teacher_temperature=dict(
                    _delete_=True,
                    start=0.04,
                    end=0.07,
                    shape='linear',
                    duration=30,
                    unit='epoch',
                    by_epoch=True,
                )
            ),
        )
    )
)
optim_wrapper = dict(optimizer=dict(lr=2e-3))  # 0.0005 * 1024 / 256
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        # Down to 1e-6 for any batch size.
        factor=dict(start=1, end=0.0005, warmup=10, warmup_inclusive=True, unit='epoch'),
        convert_to_iter_based=True,
    ),
    dict(
        type='ParamSchedule',
        param_name='weight_decay',
        value=dict(start=0.04, end=0.4),
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=300)
auto_scale_lr = dict(base_batch_size=1024)
