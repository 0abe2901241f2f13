"""SlotCon, 512 images a step; the official scripts train 100 and 200 epochs of ImageNet and 800 of COCO."""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='LARS',
        variant='popular',  # utils/lars.py; biases and norms excluded, the slots are not
        lr=2.0,  # 1.0 * 512 / 256
        momentum=0.9,
        weight_decay=1e-5,
    ),
)
# 5 epochs from a hundredth, then cosine to 1e-6, per step
param_scheduler = [
    dict(
        type='ParamSchedule',
        param_name='lr',
        factor=dict(start=1, end=5e-7, warmup=5, warmup_start=0.01, unit='epoch'),
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='PretrainLoop', max_epochs=200)
auto_scale_lr = dict(base_batch_size=512, enable=False)
